/** The beginning of a file, and no more: what a preview may cost is bounded here. */

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
