/** What the job left: a tree with sizes and kinds, and a preview of the file that is chosen. */

import "../outputs.css";
import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { hash } from "../address";
import { Api, type Result } from "../api";
import { heldBytes, type Reference } from "../dataref";
import { declaredOutputs, missingOutputs } from "../declared";
import { kindOf } from "../kinds";
import { sent } from "../outputs";
import { beginningOf } from "../partial";
import type { Run } from "../run";
import { counted, short, size } from "../words";
import { later } from "./later";
import { save } from "./logtools";
import { Tree } from "./tree";

const ZIP_BYTES_MAX = 500e6; // made in memory
const ASKED_MAX = 100; // files whose size has to be asked for, one request each
const ASKED_AT_ONCE = 4;

const Preview = later(() => import("./preview").then((it) => it.Preview), true);

type Outputs = NonNullable<Result["outputs"]>;

/** By name, so that the next run shows the same file again. */
const chosen = signal<string | undefined>(undefined);

export function Outputs({ run }: { run: Run | undefined }) {
  const outputs = run?.job.value?.finished?.result?.outputs ?? NONE;
  const names = useMemo(() => Object.keys(outputs), [outputs]);
  const sizes = useSizes(run, outputs);
  const missing = missingOutputs(declaredOutputs(hash.value), run?.job.value);
  if (!run || !names.length) {
    const text = run?.isOver ? "The job left no files." : "Files that the job writes to its outputs folder appear here when it has ended.";
    return <div class="outputs"><Missing names={missing} /><p class="quiet pad">{text}</p></div>;
  }
  const current = chosen.value !== undefined && chosen.value in outputs ? chosen.value : firstOf(names);
  return (
    <div class="outputs">
      <Missing names={missing} />
      <Tools key={`${run.id}/${run.job.value?.finished?.time}`} run={run} names={names} sizes={sizes} />
      <Tree names={names} chosen={current} choose={(name) => void (chosen.value = name)} sizeOf={(name) => sizes[name]} hrefOf={(name) => run.api.outputUrl(run.id, name)} />
      {current && <Preview key={`${run.id}/${run.job.value?.finished?.time}/${current}`} name={current} url={run.api.outputUrl(run.id, current)} publicUrl={new Api(run.api.base).outputUrl(run.id, current)} />}
    </div>
  );
}

const NONE: Outputs = {};

/** What one looks at first: a picture, else what can be read. */
function firstOf(names: string[]): string | undefined {
  if (names.length === 1) return names[0];
  for (const kinds of [["picture"], ["html", "table"], ["json", "text"]]) {
    const found = names.find((name) => kinds.includes(kindOf(name).kind));
    if (found) return found;
  }
  return undefined;
}

function Missing({ names }: { names: string[] }) {
  if (!names.length) return null;
  return (
    <div class="card wait" role="status">
      <h2>{counted(names.length, "declared output")} {names.length === 1 ? "is" : "are"} not there</h2>
      <p>The job ended well, but it left no {names.map((name, at) => <>{at > 0 && ", "}<code key={name}>{name}</code></>)}. Pages that wait for {names.length === 1 ? "it" : "them"} get nothing.</p>
    </div>
  );
}

function Tools({ run, names, sizes }: { run: Run; names: string[]; sizes: Record<string, number> }) {
  const doing = useSignal("");
  const known = names.every((name) => name in sizes);
  const total = names.reduce((sum, name) => sum + (sizes[name] ?? 0), 0);
  const told = sent.value?.id === run.id ? sent.value : undefined;
  const all = async () => {
    try {
      doing.value = "Fetching";
      await saveAll(run, names, (count) => void (doing.value = `Fetching ${count} of ${names.length}`));
      doing.value = "";
    } catch (error) {
      doing.value = (error as Error).message;
    }
  };
  return (
    <div class="tools">
      <small>{counted(names.length, "file")}{known && ` · ${size(total)}`}</small>
      {told && <small title={told.names.join("\n")}>· {told.names.length} sent to the page around this one{told.byValue ? " as contents" : " as references"}</small>}
      <span class="gap" />
      <small role="status">{doing.value}</small>
      {names.length > 1 && <button type="button" class="small" onClick={() => void all()}>Download all</button>}
    </div>
  );
}

async function saveAll(run: Run, names: string[], said: (count: number) => void): Promise<void> {
  const { zipSync } = await import("fflate");
  const files: Record<string, Uint8Array> = {};
  let total = 0;
  for (const [at, name] of names.entries()) {
    said(at + 1);
    const { bytes, isCut } = await beginningOf(run.api.outputUrl(run.id, name), ZIP_BYTES_MAX - total).catch((error: Error) => {
      throw new Error(`${name}: ${error.message}`);
    });
    if (isCut) throw new Error(`More than ${size(ZIP_BYTES_MAX)}: download the files one by one, or use gridd outputs.`);
    files[name] = bytes;
    total += bytes.length;
  }
  save(new Blob([zipSync(files, { level: 0 }) as Uint8Array<ArrayBuffer>]), `${short(run.id)}.zip`);
}

/** Small files are in the result itself; of the others the grid is asked, a few at a time. */
function useSizes(run: Run | undefined, outputs: Outputs): Record<string, number> {
  const asked = useSignal<Record<string, number>>({});
  const held = useMemo(() => {
    const found: Record<string, number> = {};
    for (const [name, reference] of Object.entries(outputs)) {
      const bytes = reference.size ?? heldBytes(reference)?.length;
      if (bytes !== undefined) found[name] = bytes;
    }
    return found;
  }, [outputs]);
  useEffect(() => {
    asked.value = {};
    const isHere = ({ type, value }: Reference) => type === "key" || /\/f\/[^/]+$/.test(String(value)); // nobody else is asked
    const waiting = Object.keys(outputs).filter((name) => !(name in held) && isHere(outputs[name]!)).slice(0, ASKED_MAX);
    const aborting = new AbortController();
    const ask = async () => {
      for (let name = waiting.shift(); name !== undefined && run; name = waiting.shift()) {
        const response = await fetch(run.api.outputUrl(run.id, name), { method: "HEAD", signal: aborting.signal }).catch(() => undefined);
        const told = response?.ok ? response.headers.get("Content-Length") : null;
        if (told !== null && !aborting.signal.aborted) asked.value = { ...asked.value, [name]: Number(told) };
      }
    };
    for (let n = 0; n < ASKED_AT_ONCE; n++) void ask();
    return () => aborting.abort();
  }, [outputs]);
  return { ...asked.value, ...held };
}
