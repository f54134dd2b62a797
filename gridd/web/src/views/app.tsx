/** The page: the strip, what runs on the left, what came out on the right. */

import { computed, effect, signal } from "@preact/signals";
import { flag, place, queue } from "../address";
import { definition, isActive, isReadOnly, run, view } from "../store";
import { plain } from "../ansi";
import type { Run } from "../run";
import { failureOf, number } from "../words";
import { later } from "./later";
import { Log } from "./log";
import { NoWorker } from "./noworker";
import { currentStatus, Problem, RunId, Strip } from "./strip";
import { Welcome } from "./welcome";
import { What } from "./what";

const Outputs = later(() => import("./outputs").then((it) => it.Outputs), true);
const Runs = later(() => import("./runs").then((it) => it.Runs), true);
const Queue = later(() => import("./queue").then((it) => it.Queue), true);

const TABS = ["Job", "Log", "Outputs", "Runs", "Queue"] as const;
type Tab = (typeof TABS)[number];

/** `Job` is a tab where there is no room for two columns. */
const tab = signal<Tab>("Log");
const isNarrow = signal(matchMedia("(max-width: 760px)").matches);
matchMedia("(max-width: 760px)").addEventListener("change", (event) => void (isNarrow.value = event.matches));

const shown = computed<Tab>(() => (tab.value === "Job" && !isNarrow.value ? "Log" : tab.value));

// `terminal=true`: begin with what it prints (BROWSER 2.4).
if (!location.pathname.startsWith("/j/") && location.hash.includes("job=") && !flag("terminal")) tab.value = "Job";
// Where there is room for one column, what was started is what one wants to see.
effect(() => {
  if (isNarrow.value && isActive.value && tab.peek() === "Job") tab.value = "Log";
});

export function App() {
  document.title = titleOf();
  if (place.value.kind === "queue") return <QueuePage />;
  return (
    <div class={isNarrow.value ? `page narrow ${shown.value === "Job" ? "on-job" : ""}` : "page"}>
      <Strip />
      <main>
        <What />
        <section class="right" aria-label="What came out">
          <Tabs />
          <div class="tab" role="tabpanel" id="panel" aria-labelledby={`tab-${shown.value}`}>
            {shown.value !== "Job" && <><Problem /><Failure /></>}
            {shown.value === "Log" && (isEmpty() ? <Welcome /> : <Log run={run.value} />)}
            {shown.value === "Outputs" && <Outputs run={run.value} />}
            {shown.value === "Runs" && <Runs />}
            {shown.value === "Queue" && <Queue />}
          </div>
        </section>
      </main>
    </div>
  );
}

/** Whoever began with nothing is led on until something has run. */
const beganEmpty = !location.hash.includes("job=");

function isEmpty(): boolean {
  return place.value.kind === "home" && !run.value && (beganEmpty || !definition.value || !queue.value);
}

function titleOf(): string {
  if (place.value.kind === "queue") return `${place.value.queue} · gridd`;
  return run.value ? `${currentStatus().word} · gridd` : "gridd";
}

function Tabs() {
  const names = TABS.filter((name) => (name !== "Job" || isNarrow.value) && (name !== "Queue" || queue.value) && (name !== "Runs" || !isReadOnly.value));
  const move = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = names[(names.indexOf(shown.value) + step + names.length) % names.length]!;
    tab.value = next;
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div class="tabs">
      <div role="tablist" aria-label="Views" onKeyDown={move}>
        {names.map((name) => (
          <button key={name} id={`tab-${name}`} type="button" role="tab" aria-selected={shown.value === name} aria-controls="panel" tabIndex={shown.value === name ? 0 : -1} onClick={() => void (tab.value = name)}>
            {name}<Count of={name} />
          </button>
        ))}
      </div>
      <RunId />
    </div>
  );
}

function Count({ of }: { of: Tab }) {
  let count = 0;
  if (of === "Outputs") count = Object.keys(run.value?.job.value?.finished?.result?.outputs ?? {}).length;
  if (of === "Queue" && view.value) {
    void view.value.changes.value;
    for (const job of view.value.jobs.values()) if (job.state !== "Finished") count++;
  }
  return count ? <span class="count">{number(count)}</span> : null;
}

/** In plain words: what went wrong or what it waits for, and what to do. */
function Failure() {
  const shownRun = run.value;
  const job = shownRun?.job.value;
  const why = shownRun?.why.value;
  if (!shownRun || !job) return null;
  if (isActive.value && why) {
    if (!why.workersConnected) return shown.value === "Queue" ? null : <NoWorker />;
    if (!why.workers.some((it) => it.could)) {
      return (
        <div class="card bad">
          <h2>No worker here can run this job</h2>
          <ul>{why.workers.slice(0, 5).map((it) => <li key={it.worker}><b>{it.worker}</b> {(it.whyNot ?? []).join("; ")}</li>)}</ul>
          <p>Change what it asks for, or start a worker that can run it.</p>
        </div>
      );
    }
    return job.state === "Queued" ? <p class="quiet pad">{why.summary}</p> : null;
  }
  const failure = failureOf(job, shownRun.definition);
  if (!failure || shown.value === "Queue" || shown.value === "Runs") return null;
  const words = failure.text || lastErrors(shownRun);
  return (
    <div class="card bad">
      <h2>{failure.title}</h2>
      {words && <pre tabIndex={0}>{words}</pre>}
      <p>{failure.next}</p>
    </div>
  );
}

/** The program's last words to stderr: what a person looks for first. */
function lastErrors(of: Run): string {
  void of.logged.value;
  const lines = of.log.text.lines;
  const found: string[] = [];
  for (let at = lines.length - 1; at >= Math.max(0, lines.length - 200) && found.length < 3; at--) {
    if (lines[at]!.stderr && lines[at]!.text.trim()) found.unshift(plain(lines[at]!.text));
  }
  return found.join("\n");
}

function QueuePage() {
  const key = queue.value!.key;
  return (
    <div class="page single">
      <header class="strip">
        <div class="status idle"><strong>Queue {key}</strong></div>
        <div class="actions">
          {view.value?.isBroken.value && <span class="broken" role="alert">connecting again…</span>}
          <a class="button main" href={`/#?queue=${encodeURIComponent(key)}`}>New job</a>
        </div>
      </header>
      <main><section class="right"><div class="tab"><Problem /><Queue /></div></section></main>
    </div>
  );
}
