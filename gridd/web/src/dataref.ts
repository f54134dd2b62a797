/**
 * Values as they travel: between frames (BROWSER 1.5), and into jobs as references (2.6).
 *
 * Everything that arrives becomes a reference, or bytes that have to become one. Nothing that
 * arrives can throw: what can't be read is passed on as the text or the JSON that it is.
 */

import { isObject } from "./hash";

export interface Reference {
  type?: "utf8" | "json" | "base64" | "url" | "key";
  value: unknown;
  hash?: string;
}

const TYPES = new Set(["utf8", "json", "base64", "url", "key"]);

/** A compute reference: one of the five types, and a value. */
export function isReference(value: unknown): value is Reference {
  return isObject(value) && TYPES.has(value.type as string) && Boolean(value.value);
}

/** What an input that arrived is to the job; `undefined`: there is nothing. */
export async function toReference(value: unknown): Promise<Reference | undefined> {
  if (value === null || value === undefined) return undefined;
  if (typeof value === "string") return value.startsWith("data:") ? fromDataUrl(value) : utf8(value);
  if (typeof value === "number") return utf8(String(value));
  if (typeof value === "boolean") return { type: "json", value };
  const bytes = await bytesOf(value);
  if (bytes) return { type: "base64", value: toBase64(bytes) };
  if (isReference(value)) return value;
  if (isObject(value)) return fromLegacy(value) ?? { type: "json", value };
  return { type: "json", value };
}

function utf8(value: string): Reference {
  return { type: "utf8", value };
}

async function bytesOf(value: unknown): Promise<Uint8Array | undefined> {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof Blob) return new Uint8Array(await value.arrayBuffer());
  return undefined;
}

/** Two older shapes: `{_s: true, _c, value}` and `{ref, value}`. */
function fromLegacy(value: Record<string, unknown>): Reference | undefined {
  if (value._s === true && typeof value.value === "string") return { type: "base64", value: value.value };
  if (typeof value.ref === "string" && TYPES.has(value.ref) && "value" in value) {
    return { type: value.ref as Reference["type"], value: value.value };
  }
  return undefined;
}

function fromDataUrl(text: string): Reference {
  const comma = text.indexOf(",");
  if (comma < 0) return utf8(text);
  const [mime = "", ...marks] = text.slice("data:".length, comma).split(";");
  const payload = text.slice(comma + 1);
  if (marks.includes("base64")) return { type: "base64", value: payload };
  const decoded = percentDecoded(payload);
  if (mime === "text/x-uri") return { type: "url", value: decoded };
  if (mime === "application/json") {
    try {
      return { type: "json", value: JSON.parse(decoded) };
    } catch {
      return utf8(decoded);
    }
  }
  return utf8(decoded);
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const CHUNK = 0x8000; // characters of one call: all at once would overflow the stack

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK) {
    text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  }
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const raw = atob(text.replace(/\s+/g, ""));
  return Uint8Array.from(raw, (char) => char.charCodeAt(0));
}

/** The bytes that a reference holds itself; `undefined` for those that lie elsewhere. */
export function heldBytes(reference: Reference): Uint8Array<ArrayBuffer> | undefined {
  const { type = "utf8", value } = reference;
  if (type === "utf8") return new TextEncoder().encode(String(value));
  if (type === "json") return new TextEncoder().encode(JSON.stringify(value));
  if (type !== "base64" || typeof value !== "string") return undefined;
  try {
    return fromBase64(value);
  } catch {
    return undefined;
  }
}

/** What counts against the bound on values in a definition (BROWSER 2.7). */
export function inlineLength(reference: Reference): number {
  const { type = "utf8", value } = reference;
  if (type === "url" || type === "key") return 0;
  return typeof value === "string" ? value.length : (JSON.stringify(value) ?? "").length;
}
