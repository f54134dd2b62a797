import { defineConfig } from "vite";

// What other people's pages load, in one file that keeps its name: a plain script, which learns
// where it came from and leaves no names behind. `--mode page` builds the script of /embed/ itself.
export default defineConfig(({ mode }) => {
  const name = mode === "page" ? "page" : "gridd";
  return {
    logLevel: "warn",
    build: {
      outDir: "dist/embed",
      emptyOutDir: false, // dist itself was emptied
      target: "es2022",
      lib: { entry: `src/embed/${name}.ts`, formats: ["iife"], name: `gridd_${name}`, fileName: () => `${name}.js` },
    },
  };
});
