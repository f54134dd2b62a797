import { defineConfig } from "vite";

// The server serves index.html at /, /j/ID and /q/QUEUE, and assets/ at /assets: addresses are
// absolute, so that the same page works below every path.
export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "dist",
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    license: { fileName: "assets/licenses.md" }, // of what is bundled, as their owners ask
    assetsInlineLimit: 0, // a data: address would need a looser policy
    target: "es2022",
  },
});
