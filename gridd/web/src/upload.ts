/** Files to the grid under the hash of their bytes, with progress. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { ApiError } from "./api";

const PIECE = 4 << 20;
const TRIES_MAX = 4;
const RETRY_MS = 400;
const STALLED_MS = 60_000; // not a byte went out, and no answer came

/** Read piece by piece: a file may be larger than the memory. `seen` is told the bytes so far. */
export async function hashOfFile(file: Blob, seen: (bytes: number) => void): Promise<string> {
  const hash = sha256.create();
  for (let at = 0; at < file.size; at += PIECE) {
    hash.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
    seen(Math.min(at + PIECE, file.size));
  }
  return bytesToHex(hash.digest());
}

/** Throws `ApiError` after the last try. Refusals (4xx) are not tried again. */
export async function upload(
  base: string, hash: string, body: Blob, sent: (bytes: number) => void,
): Promise<void> {
  const there = await fetch(`${base}/f/${hash}/exists`).then((it) => it.ok, () => false);
  if (there) return;
  for (let tries = 1; ; tries++) {
    const [status, said] = await put(`${base}/f/${hash}`, body, sent);
    if (status >= 200 && status < 300) return;
    if (tries === TRIES_MAX || (status >= 400 && status < 500 && status !== 429)) {
      const why = status ? (errorIn(said) ?? `status ${status}`) : "the connection broke";
      throw new ApiError(`The upload failed: ${why.replace(/\.$/, "")}.`, status);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS * 2 ** tries));
  }
}

/** By XMLHttpRequest: `fetch` does not tell how far an upload is. */
function put(url: string, body: Blob, sent: (bytes: number) => void): Promise<[status: number, said: string]> {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    let stalled: ReturnType<typeof setTimeout>;
    const goesOn = () => {
      clearTimeout(stalled);
      stalled = setTimeout(() => request.abort(), STALLED_MS);
    };
    request.upload.onprogress = (event) => {
      goesOn();
      sent(event.loaded);
    };
    request.onload = () => resolve([request.status, request.responseText]);
    request.onerror = request.onabort = () => resolve([0, ""]);
    request.onloadend = () => clearTimeout(stalled);
    goesOn();
    request.send(body);
  });
}

function errorIn(said: string): string | undefined {
  try {
    const { error } = JSON.parse(said) as { error?: unknown };
    return typeof error === "string" ? error : undefined;
  } catch {
    return undefined;
  }
}
