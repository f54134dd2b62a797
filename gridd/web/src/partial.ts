/** The beginning of a file, and no more: what a preview may cost is bounded here. */

import { heldBytes, type Reference } from "./dataref";
import { isObject } from "./hash";
import { isBinary } from "./kinds";

/** Of one file that is read as a text, or compared by what is in it. */
export const FILE_BYTES_MAX = 1_000_000;

export interface Beginning {
  bytes: Uint8Array<ArrayBuffer>;
  /** There is more behind them. */
  isCut: boolean;
  /** Of the whole file, where the answer tells it. */
  total: number | undefined;
}

/** At most `most` bytes of `url`; the rest is not asked for any further. Throws for an answer that
 * is none. */
export async function beginningOf(url: string, most: number, signal?: AbortSignal): Promise<Beginning> {
  const response = await fetch(url, signal ? { signal } : {});
  if (!response.ok) throw new Error(`status ${response.status}`);
  const told = Number(response.headers.get("Content-Length") ?? NaN);
  const reader = response.body!.getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  while (length <= most) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
  }
  const isCut = length > most;
  if (isCut) void reader.cancel().catch(() => undefined);
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer()).subarray(0, most);
  return { bytes, isCut, total: isCut ? (Number.isFinite(told) ? told : undefined) : bytes.length };
}

/** The text of a definition's file, wherever it lies. Throws with words for people. */
export async function textOf(file: unknown): Promise<string> {
  if (file === undefined) return "";
  if (!isObject(file) || !("value" in file)) return typeof file === "string" ? file : JSON.stringify(file);
  const reference = file as unknown as Reference;
  const held = heldBytes(reference);
  return decoded(held ?? (await whole(reference)));
}

async function whole({ type, value }: Reference): Promise<Uint8Array> {
  if (type !== "url") throw new Error("it lies in a store that can't be read from here");
  const found = await beginningOf(String(value), FILE_BYTES_MAX);
  if (found.isCut) throw new Error("it has more than 1 MB");
  return found.bytes;
}

/** Throws for what is no text. */
export function decoded(bytes: Uint8Array): string {
  if (isBinary(bytes)) throw new Error("it is no text");
  return new TextDecoder().decode(bytes);
}
