/** Two runs side by side: what was asked for, what came of it, the files, the logs. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Api, Job } from "../api";
import { changesBetween, shownValue, type Change } from "../changes";
import { fetchedHash, firstDifference, outputChanges, outputsOf, type FileChange, type LogsCompared } from "../compare";
import type { Definition } from "../definition";
import { beginningOf, decoded, FILE_BYTES_MAX, textOf } from "../partial";
import { counted, duration, number, size, statusOf } from "../words";
import { DiffLines, DiffOf } from "./difflines";

interface Side {
  id: string;
  definition: Definition | null;
  job: Job | undefined;
}

const FILES_OPEN_MAX = 2; // files of a definition whose lines are shown at once

export function Comparison({ from, before, after }: { from: Api; before: string; after: string }) {
  const sides = useSignal<[Side, Side] | undefined>(undefined);
  const failed = useSignal("");
  useEffect(() => {
    Promise.all([sideOf(from, before), sideOf(from, after)]).then(
      (found) => void (sides.value = found),
      (error: Error) => void (failed.value = error.message),
    );
  }, []);
  if (before === after) return <p class="quiet">Before and after are the same run. Choose another one.</p>;
  if (!sides.value) return <p class="quiet" role="status">{failed.value ? `They can't be compared: ${failed.value}` : "Reading both…"}</p>;
  const [a, b] = sides.value;
  return (
    <div class="comparison">
      <AskedFor a={a} b={b} />
      <Outcome a={a} b={b} />
      <Files from={from} a={a} b={b} />
      <Logs from={from} a={a} b={b} />
    </div>
  );
}

async function sideOf(from: Api, id: string): Promise<Side> {
  const [definition, standing] = await Promise.all([from.definition(id), from.standing(id)]);
  return { id, definition, job: standing.known ? standing.job : undefined };
}

function AskedFor({ a, b }: { a: Side; b: Side }) {
  if (!a.definition || !b.definition) return <p class="quiet">The grid does not keep what {a.definition ? "the later" : "the earlier"} run asked for any more.</p>;
  const found = changesBetween(a.definition, b.definition);
  const plain = found.filter((it) => !it.isFile);
  const files = found.filter((it) => it.isFile);
  return (
    <section aria-label="What was asked for">
      <h2>Asked for</h2>
      {!found.length && <p>The same.</p>}
      {plain.length > 0 && <Pairs rows={plain.map((it) => [it.title, shownValue(it.before), shownValue(it.after)])} />}
      {files.map((it) => <FileDiff key={it.title} title={it.title} isOpen={files.length <= FILES_OPEN_MAX} note={sides(it)} texts={() => Promise.all([textOf(it.before), textOf(it.after)])} />)}
    </section>
  );
}

function sides(it: Change): string {
  return it.before === undefined ? "only after" : it.after === undefined ? "only before" : "changed";
}

/** What is the same is said once, quietly. */
function Pairs({ rows }: { rows: [string, string, string][] }) {
  return (
    <div class="scroll">
      <table>
        <thead><tr><th scope="col"><span class="offscreen">What</span></th><th scope="col">Before</th><th scope="col">After</th></tr></thead>
        <tbody>{rows.map(([what, a, b]) => <tr key={what}><th scope="row">{what}</th><td class={a === b ? "quiet" : ""}>{a || "–"}</td><td class={a === b ? "quiet" : ""}>{b || "–"}</td></tr>)}</tbody>
      </table>
    </div>
  );
}

function Outcome({ a, b }: { a: Side; b: Side }) {
  const row = (what: string, of: (job: Job) => string): [string, string, string] => [what, a.job ? of(a.job) : "not kept any more", b.job ? of(b.job) : "not kept any more"];
  return (
    <section aria-label="What came of it">
      <h2>Outcome</h2>
      <Pairs
        rows={[
          row("state", (job) => statusOf(job, null, Date.now()).word),
          row("exit code", (job) => String(job.finished?.result?.StatusCode ?? "")),
          row("took", (job) => (job.finished?.result?.duration === undefined ? "" : duration(job.finished.result.duration))),
          row("worker", (job) => job.finished?.worker || job.worker),
          row("ended", (job) => (job.state === "Finished" ? new Date(job.time).toLocaleString() : "")),
        ]}
      />
    </section>
  );
}

function Files({ from, a, b }: { from: Api; a: Side; b: Side }) {
  const found = useSignal<FileChange[] | undefined>(undefined);
  const [before, after] = [outputsOf(a.job), outputsOf(b.job)];
  useEffect(() => {
    let isGone = false; // then nothing more is fetched
    const hashOf = async (side: 0 | 1, name: string) => (isGone ? undefined : fetchedHash(from, side ? b.id : a.id, name));
    void outputChanges(before, after, hashOf).then((it) => void (found.value = it));
    return () => void (isGone = true);
  }, []);
  const rows = found.value;
  const count = (verdict: FileChange["verdict"]) => rows?.filter((it) => it.verdict === verdict).length ?? 0;
  const said = (["same", "changed", "only before", "only after", "can't be told"] as const).filter((it) => count(it)).map((it) => `${count(it)} ${it}`);
  return (
    <section aria-label="Outputs of both">
      <h2>Outputs</h2>
      {!rows && <p class="quiet" role="status">Comparing…</p>}
      {rows && <p>{said.join(" · ") || "Neither left any."}</p>}
      {rows?.filter((it) => it.verdict !== "same").map(({ name, verdict }) => (
        verdict === "changed"
          ? <FileDiff key={name} title={name} isOpen={false} note="changed" texts={() => Promise.all([outputText(from, a.id, name), outputText(from, b.id, name)])} />
          : <p key={name} class="onefile"><code>{name}</code> <small>{verdict === "can't be told" ? `larger than ${size(FILE_BYTES_MAX)} or elsewhere, and without a hash: can't be told` : verdict}</small></p>
      ))}
    </section>
  );
}

async function outputText(from: Api, id: string, name: string): Promise<string> {
  const found = await beginningOf(from.outputUrl(id, name), FILE_BYTES_MAX);
  if (found.isCut) throw new Error(`it has more than ${size(FILE_BYTES_MAX)}`);
  return decoded(found.bytes);
}

function Logs({ from, a, b }: { from: Api; a: Side; b: Side }) {
  const found = useSignal<LogsCompared | undefined>(undefined);
  const failed = useSignal("");
  useEffect(() => {
    let isGone = false;
    const pages = (id: string) => async (since: number) => {
      if (isGone) throw new Error("nobody waits for it");
      return from.logs(id, "run", since);
    };
    firstDifference(pages(a.id), pages(b.id)).then((it) => void (found.value = it), (error: Error) => void (failed.value = error.message));
    return () => void (isGone = true);
  }, []);
  const it = found.value;
  return (
    <section aria-label="Logs of both">
      <h2>Log</h2>
      {!it && <p class="quiet" role="status">{failed.value ? `Can't be read: ${failed.value}` : "Comparing…"}</p>}
      {it && it.line === undefined && <p>{it.isWhole ? (it.read ? `The same ${counted(it.read, "line")}.` : "Neither printed anything.") : `The same as far as they were compared: ${counted(it.read, "line")}.`}</p>}
      {it && it.line !== undefined && (
        <>
          <p>They part at line {number(it.line)}{it.before === undefined || it.after === undefined ? `, where the ${it.before === undefined ? "earlier" : "later"} one ends` : ""}:</p>
          <DiffLines lines={[["-", it.before], ["+", it.after]].flatMap(([sign, text]) => (text === undefined ? [] : [{ sign: sign as "-" | "+", text }]))} />
        </>
      )}
    </section>
  );
}

function FileDiff({ title, note, isOpen, texts }: { title: string; note: string; isOpen: boolean; texts: () => Promise<[string, string]> }) {
  const open = useSignal(isOpen);
  return (
    <details open={open.value} onToggle={(event) => void (open.value = event.currentTarget.open)}>
      <summary><code>{title}</code> <small>{note}</small></summary>
      {open.value && <DiffOf texts={texts} />}
    </details>
  );
}
