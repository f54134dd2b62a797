/** One output, shown. Strangers made it: pictures are pictures, HTML lives in a sandbox without
 * scripts, everything else is text. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { size } from "../words";

const TEXT_BYTES_MAX = 2_000_000; // beyond it only the beginning is shown
const BLOB_BYTES_MAX = 50_000_000;
const TABLE_ROWS_MAX = 200;

type Shown =
  | { kind: "image"; url: string }
  | { kind: "html" | "text"; text: string; isCut: boolean }
  | { kind: "table"; rows: string[][]; total: number; isCut: boolean }
  | { kind: "none"; why: string };

const IMAGES: Record<string, string> = {
  png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", svg: "image/svg+xml", bmp: "image/bmp",
};

export function Preview({ name, url }: { name: string; url: string }) {
  const shown = useSignal<Shown | undefined>(undefined);
  useEffect(() => {
    const aborting = new AbortController();
    load(name, url, aborting.signal).then(
      (it) => void (shown.value = it),
      (error: Error) => aborting.signal.aborted || (shown.value = { kind: "none", why: `It can't be fetched: ${error.message}.` }),
    );
    return () => {
      aborting.abort();
      if (shown.value?.kind === "image") URL.revokeObjectURL(shown.value.url);
    };
  }, [url]);
  const it = shown.value;
  return (
    <figure class="preview" aria-label={`Preview of ${name}`}>
      {!it && <p class="quiet">Loading…</p>}
      {it?.kind === "image" && <img src={it.url} alt={name} />}
      {it?.kind === "html" && <iframe sandbox="" srcdoc={it.text} title={name} />}
      {it?.kind === "html" && <figcaption class="quiet">Shown without its scripts. Download it to see it whole.</figcaption>}
      {it?.kind === "text" && <pre tabIndex={0}>{it.text}</pre>}
      {it?.kind === "table" && <Table rows={it.rows} total={it.total} />}
      {it?.kind === "none" && <p class="quiet">{it.why}</p>}
      {(it?.kind === "text" || it?.kind === "table") && it.isCut && <figcaption class="quiet">Only the beginning ({size(TEXT_BYTES_MAX)}) is shown.</figcaption>}
    </figure>
  );
}

function Table({ rows, total }: { rows: string[][]; total: number }) {
  const [head = [], ...body] = rows;
  return (
    <div class="scroll" tabIndex={0}>
      <table>
        <thead><tr>{head.map((cell, at) => <th key={at} scope="col">{cell}</th>)}</tr></thead>
        <tbody>{body.map((row, at) => <tr key={at}>{row.map((cell, i) => <td key={i} class={/^-?[\d.,]+(e[-+]?\d+)?$/i.test(cell) ? "number" : ""}>{cell}</td>)}</tr>)}</tbody>
      </table>
      {total > rows.length && <p class="quiet">{rows.length - 1} of {total - 1} rows</p>}
    </div>
  );
}

async function load(name: string, url: string, signal: AbortSignal): Promise<Shown> {
  const end = name.split(".").pop()!.toLowerCase();
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(`status ${response.status}`);
  if (IMAGES[end]) {
    const bytes = await response.arrayBuffer();
    if (bytes.byteLength > BLOB_BYTES_MAX) return { kind: "none", why: `A picture of ${size(bytes.byteLength)}: download it to see it.` };
    return { kind: "image", url: URL.createObjectURL(new Blob([bytes], { type: IMAGES[end] })) };
  }
  const { bytes, isCut } = await beginning(response);
  if (bytes.subarray(0, 4000).includes(0)) return { kind: "none", why: "This is no text: download it to use it." };
  const text = new TextDecoder().decode(bytes);
  if (end === "html" || end === "htm") return { kind: "html", text, isCut };
  if (end === "csv" || end === "tsv") return tableOf(text, end === "csv" ? "," : "\t", isCut);
  if (end === "json" && !isCut) return { kind: "text", text: pretty(text), isCut };
  return { kind: "text", text, isCut };
}

async function beginning(response: Response): Promise<{ bytes: Uint8Array; isCut: boolean }> {
  const reader = response.body!.getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  while (length <= TEXT_BYTES_MAX) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
  }
  const isCut = length > TEXT_BYTES_MAX;
  if (isCut) await reader.cancel();
  const bytes = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
  return { bytes: bytes.subarray(0, TEXT_BYTES_MAX), isCut };
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function tableOf(text: string, separator: string, isCut: boolean): Shown {
  const rows = cells(text, separator);
  return { kind: "table", rows: rows.slice(0, TABLE_ROWS_MAX), total: rows.length, isCut };
}

/** Quoted cells may hold separators and line ends; `""` is a quote. */
export function cells(text: string, separator: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (isQuoted) {
      if (char !== '"') cell += char;
      else if (text[at + 1] === '"') cell += text[++at];
      else isQuoted = false;
    } else if (char === '"' && !cell) isQuoted = true;
    else if (char === separator) {
      row.push(cell);
      cell = "";
    } else if (char === "\n") {
      rows.push([...row, cell.replace(/\r$/, "")]);
      [row, cell] = [[], ""];
    } else cell += char;
  }
  if (cell || row.length) rows.push([...row, cell]);
  return rows;
}
