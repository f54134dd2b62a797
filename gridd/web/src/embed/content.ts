/** What an output holds: outputs are references, contents, or whatever another frame makes. */

import { fromBase64, heldBytes, isReference, toReference } from "../dataref";
import { isObject } from "../hash";

/** Raises when there is nothing, or when it lies elsewhere and cannot be had. */
export async function contentOf(value: unknown): Promise<Blob> {
  if (value === undefined || value === null) throw new Error("there is no such output");
  if (value instanceof Blob) return value;
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return new Blob([value as BlobPart]);
  if (typeof value === "string" && value.startsWith("data:")) return decoded(value);
  if (isReference(value)) {
    if (value.type === "url") return fetched(String(value.value));
    if (value.type === "base64") return new Blob([fromBase64(String(value.value))]);
    return new Blob([asText(value.value)]);
  }
  // A text that is empty is no reference to those who look for a value.
  return new Blob([isObject(value) && value.type === "utf8" ? asText(value.value) : asText(value)]);
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Not by `fetch`: a page's policy may forbid it to ask for `data:`. */
async function decoded(url: string): Promise<Blob> {
  const reference = await toReference(url);
  const bytes = reference && heldBytes(reference);
  return bytes ? new Blob([bytes as BlobPart], { type: url.slice("data:".length).split(/[;,]/)[0]! }) : fetched(url);
}

async function fetched(url: string): Promise<Blob> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} was answered with status ${response.status}`);
  return response.blob();
}
