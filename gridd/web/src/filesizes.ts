/** How large uploaded files are, asked once for each. */

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
