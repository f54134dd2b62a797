import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

// The tests as plain modules, for node's own test runner.
export default defineConfig({
  build: {
    ssr: true,
    outDir: ".tests",
    emptyOutDir: true,
    target: "node20",
    rollupOptions: {
      input: readdirSync("tests").filter((name) => name.endsWith(".test.ts")).map((name) => `tests/${name}`),
    },
  },
  ssr: { noExternal: true },
  logLevel: "warn",
});
