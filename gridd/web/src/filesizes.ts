/** How large uploaded files are, asked once for each, and what kind of file a name promises. */

import { signal } from "@preact/signals";

/** Bytes by hash. */
export const sizes = signal<ReadonlyMap<string, number>>(new Map());

const KEPT_MAX = 1_000;

const asked = new Set<string>();

export async function sizeOf(base: string, hash: string): Promise<void> {
  if (asked.has(hash)) return;
  asked.add(hash);
  try {
    const response = await fetch(`${base}/f/${hash}`, { method: "HEAD" });
    const length = Number(response.headers.get("Content-Length") ?? NaN);
    if (!response.ok) asked.delete(hash); // not there yet
    else if (Number.isFinite(length)) sizes.value = new Map([...sizes.value].slice(1 - KEPT_MAX)).set(hash, length);
  } catch {
    asked.delete(hash); // the grid is away
  }
}

const KINDS: [RegExp, string][] = [
  [/\.(csv|tsv|parquet|xlsx?)$/i, "table"],
  [/\.(json|jsonl|geojson)$/i, "JSON"],
  [/\.(png|jpe?g|gif|svg|webp|tiff?)$/i, "picture"],
  [/\.(py|r|jl|sh|js|ts|c|cc|cpp|rs|go|ipynb)$/i, "program"],
  [/\.(txt|md|log|ya?ml|toml|ini)$/i, "text"],
  [/\.(zip|tar|t?gz|bz2|xz|zst|7z)$/i, "archive"],
  [/\.(npy|npz|h5|hdf5|nc|mat)$/i, "arrays"],
];

export function kindOf(name: string, type?: string): string {
  return KINDS.find(([pattern]) => pattern.test(name))?.[1] ?? (type === "json" ? "JSON" : type === "utf8" ? "text" : "");
}
