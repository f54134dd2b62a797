import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** What there is to know about a build that went well: how much a visitor loads. */
const sizes: Plugin = {
  name: "sizes",
  writeBundle() {
    const kB = (names: string[]) => Math.round(names.reduce((sum, name) => sum + gzipSync(readFileSync(`dist/${name}`)).length, 0) / 1000);
    const first = [...readFileSync("dist/index.html", "utf8").matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map((it) => it[1]!);
    const all = readdirSync("dist/assets").map((name) => `assets/${name}`);
    console.log(`The page: ${kB(["index.html", ...first])} kB to begin with, ${kB(all)} kB with all that may follow (gzip)`);
  },
};

// The server serves index.html at /, /j/ID and /q/QUEUE, and assets/ at /assets: addresses are
// absolute, so that the same page works below every path.
export default defineConfig({
  logLevel: "warn",
  plugins: [sizes],
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
