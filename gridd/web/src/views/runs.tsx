/** Earlier runs of this page, from the grid and from this browser, what became of each, and what
 * happened to the one that is shown. */

import "../outputs.css";
import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { formatHash, userParameters } from "../hash";
import { hash } from "../address";
import type { Api, Happened, Job } from "../api";
import { changesBetween } from "../changes";
import type { Definition } from "../definition";
import { detailsOf, type Details, type End } from "../details";
import { isAlike, joined, near, type Entry } from "../lineage";
import { remembered } from "../remembered";
import { api, prepared, run, view } from "../store";
import { counted, duration, outcomeOf, sentence, short } from "../words";
import { later } from "./later";
import { Ago } from "./parts";

const LOOKED_AT = 60; // of all jobs, the newest are looked into; "further back" is as many again
const ROWS_AT_ONCE = 30;

const Comparison = later(() => import("./compare").then((it) => it.Comparison));

/** The two that are compared, the earlier first; of one queue. */
const comparing = signal<{ queue: string; pair: [string, string] } | undefined>(undefined);
const showsAll = signal(false);

export function Runs() {
  if (api.value.queue === undefined) return <p class="quiet pad">No queue is chosen.</p>;
  return <OfQueue key={api.value.queueUrl} from={api.value} />;
}

function OfQueue({ from }: { from: Api }) {
  const details = useMemo(() => detailsOf(from), [from]);
  const ended = useSignal<Record<string, Job>>({});
  const looked = useSignal(LOOKED_AT);
  const rows = useSignal(ROWS_AT_ONCE);
  const present = run.value;
  const state = present?.job.value?.state;
  const choosePair = (pair: [string, string] | undefined) => void (comparing.value = pair && { queue: from.queueUrl, pair });
  useEffect(() => void from.ended().then((it) => void (ended.value = it), () => undefined), [from, state]);

  void view.value?.changes.value;
  void details.changed.value;
  const live = view.value ? Object.fromEntries(view.value.jobs) : {};
  const here = remembered.value.filter((it) => it.queue === from.queueUrl);
  const all = joined([ended.value, live], here, present && { id: present.id, job: present.job.value });
  const mine = prepared.value?.definition ?? present?.definition;
  const known = new Set([...here.map((it) => it.id), ...(present ? [present.id] : [])]);
  const looking = near(all, looked.value, known);
  const found = mine && !showsAll.value ? looking.filter((it) => it.id === present?.id || isMine(mine, details.definition(it.id).peek())) : looking;
  const shown = found.slice(0, rows.value);
  useEffect(() => {
    for (const it of looking) details.wantDefinition(it);
    for (const it of shown) details.wantEnd(it);
  });
  const isLooking = looking.some((it) => details.definition(it.id).peek() === undefined);

  const pair = comparing.value?.queue === from.queueUrl ? comparing.value.pair : undefined;
  if (pair) return <div class="runs"><Chosen pair={pair} choosePair={choosePair} entries={shown} details={details} from={from} /></div>;
  const name = (it: Entry) => it.id === prepared.value?.id ? "as it stands on this page" : whatDiffers(it, mine, details);
  return (
    <div class="runs">
      <div class="head">
        <h2>{showsAll.value ? "Jobs of this queue" : "Runs of this page's job"}</h2>
        <span class="gap" />
        {mine && <div class="ways" role="group" aria-label="Which runs"><button type="button" class="small" aria-pressed={!showsAll.value} onClick={() => void (showsAll.value = false)}>Like this one</button><button type="button" class="small" aria-pressed={showsAll.value} onClick={() => void (showsAll.value = true)}>All</button></div>}
      </div>
      {shown.length === 0 && <p class="quiet" role="status">{isLooking ? "Looking…" : all.length ? "None of the last jobs on this queue looks like the one on this page." : "Nothing has been run on this queue yet, as far as the grid remembers."}</p>}
      {shown.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Runs">
          <table>
            <thead><tr><th scope="col">Run</th><th scope="col">State</th><th scope="col">When</th><th scope="col" class="number">Took</th><th scope="col" class="what">{showsAll.value ? "What" : "Differs from this page in"}</th><th scope="col"><span class="offscreen">Actions</span></th></tr></thead>
            <tbody>
              {shown.map((it) => (
                <tr key={it.id} class={it.id === present?.id ? "chosen" : ""} {...(it.id === present?.id ? { "aria-current": true } : {})}>
                  <td><a class="id" href={linkTo(it.id)}>{short(it.id)}</a></td>
                  <td><State entry={it} end={details.end(it).peek()} /></td>
                  <td><Ago time={it.time} /></td>
                  <td class="number">{took(it, details.end(it).peek())}</td>
                  <td class="what">{showsAll.value ? titleOf(it, details.definition(it.id).peek()) : name(it)}</td>
                  <td>{shown.length > 1 && <button type="button" class="small" aria-label={`Compare ${short(it.id)}`} onClick={() => choosePair(pairOf(it, shown, present?.id))}>Compare</button>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <p>
        {found.length > shown.length && <button type="button" class="small" onClick={() => void (rows.value += ROWS_AT_ONCE)}>{counted(found.length - shown.length, "more run")}</button>}
        {found.length <= shown.length && all.length > looking.length && <button type="button" class="small" onClick={() => void (looked.value += LOOKED_AT)}>Look further back ({counted(all.length - looking.length, "older job")})</button>}
      </p>
      <Story />
    </div>
  );
}

function isMine(mine: Definition, other: Definition | null | undefined): boolean {
  return Boolean(other) && isAlike(mine, other!);
}

/** With the run that is shown; that one, with the one before it. The list has the newest first. */
function pairOf(entry: Entry, shown: Entry[], present: string | undefined): [string, string] {
  const at = shown.indexOf(entry);
  const own = shown.findIndex((it) => it.id === present);
  const other = own >= 0 && own !== at ? own : at + 1 < shown.length ? at + 1 : at - 1;
  return [shown[Math.max(at, other)]!.id, shown[Math.min(at, other)]!.id];
}

interface Choosing {
  pair: [string, string];
  choosePair: (pair: [string, string] | undefined) => void;
  entries: Entry[];
  details: Details;
  from: Api;
}

function Chosen({ pair: [before, after], choosePair, entries, details, from }: Choosing) {
  const label = (it: Entry) => `${short(it.id)} · ${stateOf(it, details.end(it).peek()).word} · ${new Date(it.time).toLocaleString()}`;
  const choice = (name: string, value: string, choose: (id: string) => void) => (
    <label>{name} <select value={value} onChange={(event) => choose(event.currentTarget.value)}>{entries.some((it) => it.id === value) ? null : <option value={value}>{short(value)}</option>}{entries.map((it) => <option key={it.id} value={it.id}>{label(it)}</option>)}</select></label>
  );
  return (
    <>
      <div class="head">
        <h2>Two runs compared</h2>
        <span class="gap" />
        <button type="button" class="small" onClick={() => choosePair(undefined)}>Back to the runs</button>
      </div>
      <div class="pick">
        {choice("Before", before, (id) => choosePair([id, after]))}
        {choice("After", after, (id) => choosePair([before, id]))}
        <button type="button" class="small" onClick={() => choosePair([after, before])}>Swap</button>
      </div>
      <Comparison key={`${before} ${after}`} from={from} before={before} after={after} />
    </>
  );
}

/** The short link, with what this page was told about queue and control. */
function linkTo(id: string): string {
  const own = userParameters(hash.value);
  const params = new Map([...hash.value.params].filter(([name]) => name !== "job" && name !== "inputs" && !(name in own)));
  return `/j/${id}${formatHash({ before: "", params })}`;
}

function whatDiffers(entry: Entry, mine: Definition | undefined, details: Details): string {
  const other = details.definition(entry.id).peek();
  if (!mine || !other) return titleOf(entry, other);
  return changesBetween(other, mine).map((it) => it.title).join(", ") || "nothing";
}

function titleOf(entry: Entry, definition: Definition | null | undefined): string {
  if (!definition) return entry.title ?? "";
  const { where, what } = sentence(definition);
  return [where, what].filter(Boolean).join(": ").slice(0, 200);
}

function stateOf({ job }: Entry, end: End | undefined): { word: string; tone: string } {
  if (job?.state === "Queued") return { word: "Waiting", tone: "wait" };
  if (job?.state === "Running") return { word: "Running", tone: "busy" };
  const reason = job?.finishedReason ?? end?.reason;
  if (!reason) return { word: end ? "Not kept any more" : "…", tone: "idle" };
  return outcomeOf(reason, job?.finished?.result?.StatusCode ?? end?.exitCode);
}

function State({ entry, end }: { entry: Entry; end: End | undefined }) {
  const { word, tone } = stateOf(entry, end);
  return <><span class={`dot ${tone}`} aria-hidden="true" />{word}</>;
}

function took({ job }: Entry, end: End | undefined): string {
  const ms = job?.finished?.result?.duration ?? end?.took;
  return ms === undefined ? "" : duration(ms);
}

function Story() {
  const story = run.value?.history.value ?? [];
  if (!story.length) return null;
  return (
    <>
      <h2>What happened to {short(run.value!.id)}</h2>
      <ol class="story">{story.map((it, at) => <li key={at}><time dateTime={new Date(it.time).toISOString()}>{new Date(it.time).toLocaleTimeString()}</time><span>{told(it)}</span></li>)}</ol>
    </>
  );
}

function told(it: Happened): string {
  const by = it.worker ? ` ${it.worker}` : "";
  switch (it.event) {
    case "submitted": return "submitted";
    case "held": return "submitted once more by somebody else";
    case "dropped": return `let go of by one of its submitters (${it.reason})`;
    case "leased": return `given to worker${by}${it.waited === undefined ? "" : ` after ${duration(it.waited)}`}`;
    case "lost": return `worker${by} was lost; it waits again`;
    case "released": return `worker${by} gave it back; it waits again`;
    case "finished": return `ended: ${outcomeOf(it.reason, it.exitCode).word.toLowerCase()}${it.message ? ` (${it.message})` : ""}${it.ran === undefined ? "" : ` after ${duration(it.ran)}`}`;
    case "omitted": return `${it.count ?? 0} entries are not kept`;
    default: return it.event;
  }
}
