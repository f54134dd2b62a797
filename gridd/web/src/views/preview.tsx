/** One output, shown. Strangers made it: pictures are pictures, HTML lives in a sandbox without
 * scripts, everything else is text, a table or bytes. What a preview loads is bounded. */

import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { beginningOf } from "../partial";
import { endOf, hexLines, isBinary, kindOf, type KindOf } from "../kinds";
import { numericColumns, tableOfJson, tableOfText, type Table } from "../table";
import { counted, number, size } from "../words";
import { JsonTree } from "./json";
import { later } from "./later";
import { CopyButton } from "./parts";
import { TableView } from "./table";
import { ViewWith } from "./viewer";

const TEXT_BYTES_MAX = 4_000_000; // beyond it only the beginning is shown
const SHOWN_CHARS_MAX = 500_000; // of plain text: more makes a browser slow
const PICTURE_BYTES_MAX = 50_000_000;
const HEX_BYTES = 512;

const Plot = later(() => import("./plot").then((it) => it.Plot));

interface Loaded {
  kind: KindOf["kind"] | "bytes";
  total: number | undefined;
  isCut: boolean;
  text: string;
  bytes: Uint8Array<ArrayBuffer>;
  picture?: string;
  json?: unknown;
  table?: Table;
  numeric?: boolean[];
}

const WAYS = { picture: "Picture", table: "Table", plot: "Plot", tree: "Tree", page: "Page", text: "Text", bytes: "Bytes", sound: "Sound", film: "Film", viewer: "View with…" };
type Way = keyof typeof WAYS;

/** By name of the file: who runs again and again looks at the same plot each time. */
const chosenWays = signal<Record<string, Way>>({});

export interface Shown {
  name: string;
  /** Where this page has it from. */
  url: string;
  /** Where others may have it from: it names no queue. */
  publicUrl: string;
}

export function Preview({ name, url, publicUrl }: Shown) {
  const loaded = useSignal<Loaded | undefined>(undefined);
  const failed = useSignal("");
  const kind = kindOf(name);
  useEffect(() => {
    const aborting = new AbortController();
    load(name, kind, url, aborting.signal).then(
      (it) => {
        if (!aborting.signal.aborted) loaded.value = it;
        else if (it.picture) URL.revokeObjectURL(it.picture);
      },
      (error: Error) => aborting.signal.aborted || (failed.value = `It can't be fetched: ${error.message}.`),
    );
    return () => {
      aborting.abort();
      if (loaded.value?.picture) URL.revokeObjectURL(loaded.value.picture);
    };
  }, [url]);
  const it = loaded.value;
  const ways = it ? waysOf(it) : [];
  const wanted = chosenWays.value[name];
  const chosen = wanted && ways.includes(wanted) ? wanted : ways[0];
  return (
    <figure class="preview" aria-label={`Preview of ${name}`}>
      <div class="about">
        <b>{name}</b> <small>{it?.kind === "text" && kind.kind === "other" && kind.label === "file" ? "text" : kind.label}{it?.total !== undefined && ` · ${size(it.total)}`}</small>
        <span class="gap" />
        <CopyButton label="Copy address" text={() => publicUrl} />
        <a class="button small" href={url} download={name.split("/").pop()}>Download</a>
      </div>
      {ways.length > 1 && <Ways ways={ways} chosen={chosen!} choose={(way) => void (chosenWays.value = { ...chosenWays.value, [name]: way })} />}
      {!it && <p class="quiet" role="status">{failed.value || "Loading…"}</p>}
      {it && <Body it={it} name={name} url={url} publicUrl={publicUrl} way={chosen!} />}
    </figure>
  );
}

function Ways({ ways, chosen, choose }: { ways: Way[]; chosen: Way; choose: (way: Way) => void }) {
  return (
    <div class="ways" role="group" aria-label="Show it as">
      {ways.map((it) => <button key={it} type="button" class="small" aria-pressed={it === chosen} onClick={() => choose(it)}>{WAYS[it]}</button>)}
    </div>
  );
}

function waysOf(it: Loaded): Way[] {
  const found: Way[] = [];
  if (it.kind === "audio") found.push("sound");
  if (it.kind === "video") found.push("film");
  if (it.picture) found.push("picture");
  if (it.table && it.kind === "table") found.push("table");
  if (it.json !== undefined) found.push("tree");
  if (it.table && it.kind !== "table") found.push("table");
  if (it.numeric?.includes(true)) found.push("plot");
  if (it.kind === "html") found.push("page");
  if (it.kind === "bytes") found.push("bytes");
  else if (it.text) found.push("text");
  found.push("viewer");
  return found;
}

function Body({ it, name, url, publicUrl, way }: Shown & { it: Loaded; way: Way }) {
  const cut = it.isCut && <p class="quiet">Only the beginning of the file ({size(it.bytes.length)}) is here. Download it to see all of it.</p>;
  switch (way) {
    case "picture": return <Picture url={it.picture!} name={name} />;
    case "sound": return <audio controls preload="metadata" src={url} aria-label={name} />;
    case "film": return <video controls preload="metadata" src={url} aria-label={name} />;
    case "table": return <>{cut}<TableView table={it.table!} numeric={it.numeric!} /></>;
    case "plot": return <>{cut}<Plot name={name} table={it.table!} numeric={it.numeric!} /></>;
    case "tree": return <JsonTree value={it.json} />;
    case "page": return <><iframe sandbox="" srcdoc={alone(it.text)} title={name} /><figcaption class="quiet">Shown without its scripts and without anything from elsewhere. Download it to see it whole.</figcaption></>;
    case "bytes": return <Bytes it={it} name={name} />;
    case "viewer": return <ViewWith name={name} url={url} publicUrl={publicUrl} kind={it.kind} bytes={it.isCut ? undefined : it.bytes} />;
    default: return <>{cut}<PlainText text={it.json !== undefined ? JSON.stringify(it.json, null, 2) : it.text} /></>;
  }
}

/** A page that is shown here asks nobody for anything, whatever our own policy lets our frames do.
 * Behind the doctype, which has to stand first. */
export function alone(html: string): string {
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; media-src data:";
  const meta = `<meta http-equiv="Content-Security-Policy" content="${policy}">`;
  const doctype = /^\s*<!doctype[^>]*>/i.exec(html)?.[0] ?? "";
  return doctype + meta + html.slice(doctype.length);
}

function Picture({ url, name }: { url: string; name: string }) {
  const said = useSignal("");
  const isDrawing = /\.svgz?$/i.test(name); // has no pixels of its own
  return (
    <>
      <img
        src={url} alt={name}
        onLoad={({ currentTarget: it }) => void (said.value = it.naturalWidth && !isDrawing ? `${it.naturalWidth} × ${it.naturalHeight} pixels` : "")}
        onError={() => void (said.value = "The browser can't read this picture. Download it to look into it.")}
      />
      <figcaption class="quiet">{said.value}</figcaption>
    </>
  );
}

function PlainText({ text }: { text: string }) {
  const isLong = text.length > SHOWN_CHARS_MAX;
  return (
    <>
      {isLong && <p class="quiet">The first {counted(SHOWN_CHARS_MAX, "letter")} of {number(text.length)}.</p>}
      <pre tabIndex={0}>{isLong ? text.slice(0, SHOWN_CHARS_MAX) : text}</pre>
    </>
  );
}

function Bytes({ it, name }: { it: Loaded; name: string }) {
  const head = it.bytes.subarray(0, HEX_BYTES);
  return (
    <>
      <p class="quiet">{endOf(name) === "pdf" ? "Download it to read it." : "This is no text."} {head.length < (it.total ?? Infinity) ? `Its first ${head.length} bytes` : "Its bytes"}:</p>
      <pre tabIndex={0}>{hexLines(head)}</pre>
    </>
  );
}

async function load(name: string, { kind, mime }: KindOf, url: string, signal: AbortSignal): Promise<Loaded> {
  const nothing = { text: "", bytes: new Uint8Array(), isCut: false, total: undefined };
  if (kind === "audio" || kind === "video") return { ...nothing, kind, isCut: true };
  const { bytes, isCut, total } = await beginningOf(url, kind === "picture" ? PICTURE_BYTES_MAX : TEXT_BYTES_MAX, signal);
  const found: Loaded = { kind, bytes, isCut, total, text: "" };
  if (kind === "picture" && !isCut) {
    if (endOf(name) === "svg") found.text = new TextDecoder().decode(bytes);
    return { ...found, picture: URL.createObjectURL(new Blob([bytes], { type: mime })) };
  }
  if (kind === "picture" || isBinary(bytes)) return { ...found, kind: "bytes" };
  found.text = new TextDecoder().decode(bytes);
  if (kind === "table") return withTable(found, tableOfText(found.text, endOf(name), isCut));
  if (kind === "json" && !isCut) return withJson(found);
  return { ...found, kind: kind === "html" ? "html" : "text" };
}

function withTable(found: Loaded, table: Table | undefined): Loaded {
  return table?.head.length ? { ...found, table, numeric: numericColumns(table) } : found;
}

function withJson(found: Loaded): Loaded {
  try {
    const json = JSON.parse(found.text) as unknown;
    return withTable({ ...found, json }, tableOfJson(json));
  } catch {
    return { ...found, kind: "text" }; // it says JSON and is none
  }
}
