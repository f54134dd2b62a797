/** The status strip: state, clock, and one main button that says what it will do. In a tiny frame
 * it is the whole page. */

import { isAdding } from "../adding";
import { flag, place, queue, setParameters } from "../address";
import { counted, sentence, short, statusOf, type Status } from "../words";
import {
  busy, definition, isActive, isFramed, isGuarded, isReadOnly, isStale, named, now, prepared, problem, run, stop, submit, view,
} from "../store";
import { later } from "./later";
import { Menu } from "./parts";
import { NewQueue } from "./welcome";
import { useSignal } from "@preact/signals";

const WaysToShare = later(() => import("./share").then((it) => it.Ways), true);

const SHAPES = { idle: "○", wait: "◔", busy: "▶", good: "✓", bad: "!" };

export function currentStatus(): Status {
  if (run.value) return statusOf(run.value.job.value, run.value.why.value, now.value, run.value.step.value);
  const at = place.value;
  if (at.kind === "job" && named.value === null) return { word: "Unknown job", tone: "bad", detail: "nobody here knows it, or its time is over" };
  if (!definition.value) return { word: "New job", tone: "idle", detail: "say what to run" };
  if (isReadOnly.value) return { word: "Not run", tone: "idle", detail: "" };
  if (!queue.value) return { word: "No queue", tone: "idle", detail: "name the queue that is to run it" };
  if (!prepared.value) return { word: "New job", tone: "idle", detail: "say what to run" };
  return { word: "Ready", tone: "idle", detail: "" };
}

export function Strip() {
  const status = currentStatus();
  return (
    <header class="strip">
      <div class={`status ${status.tone}`} role="status" aria-label={`State: ${status.word}`}>
        <span class="mark" aria-hidden="true">{SHAPES[status.tone]}</span>
        <strong>{status.word}</strong>
        <span class="detail">{status.detail}</span>
        {isStale.value && <span class="stale">last run; changed since</span>}
      </div>
      <p class="what" title={title()}>{title()}</p>
      <div class="actions">
        {view.value?.isBroken.value && <span class="broken" role="alert">connecting again…</span>}
        <QueueChip />
        {place.value.kind !== "queue" && prepared.value && <Menu label="Share"><WaysToShare /></Menu>}
        <MainButton />
      </div>
    </header>
  );
}

function title(): string {
  const { where, what } = sentence(definition.value);
  return [what, where && `in ${where}`].filter(Boolean).join(" · ");
}

const WILL: Record<string, string> = {
  "Run": "Submit this job to the queue; if it ran before, its result is shown",
  "Run changes": "Submit the job as it stands now",
  "Run again": "Forget the result, and run the same once more",
  "Stop": "End the job",
};

/** One and the same button whatever it says: it keeps the focus of who works with the keyboard. */
function MainButton() {
  if (isReadOnly.value || !queue.value) return null;
  const known = run.value && !isStale.value;
  const isStop = Boolean(isActive.value && known);
  const label = isStop ? "Stop" : known && run.value!.isOver ? "Run again" : isStale.value ? "Run changes" : "Run";
  const asked = flag("autostart") && isGuarded && !isFramed && !run.value;
  const waits = isAdding.value && !isStop; // it would run without the files that are on their way
  const press = (event: MouseEvent) => {
    if (busy.value || waits || event.detail > 1) return; // the second half of a double click is not meant for Stop
    void (isStop ? stop() : submit(label === "Run again"));
  };
  return (
    <>
      {asked && <small class="asked">This link would start by itself. On your own machine, you start it.</small>}
      <button
        type="button" class={isStop ? "main stop" : "main"} disabled={!isStop && !prepared.value} aria-disabled={Boolean(busy.value) || waits}
        title={waits ? "Files are still on their way to the grid" : isStop || prepared.value ? WILL[label] : "First say what is to run"} onClick={press}
      >
        {busy.value || waits ? `${busy.value || "Uploading"}…` : label}
      </button>
    </>
  );
}

function QueueChip() {
  const chosen = queue.value;
  const workers = view.value?.workers.value;
  const cpus = workers?.reduce((sum, it) => sum + it.cpus, 0) ?? 0;
  const gpus = workers?.reduce((sum, it) => sum + it.gpus, 0) ?? 0;
  const count = workers ? (workers.length ? [counted(workers.length, "worker"), counted(cpus, "cpu"), gpus && counted(gpus, "gpu")].filter(Boolean).join(" · ") : "no worker") : "";
  if (place.value.kind === "queue" || (isReadOnly.value && run.value)) return null;
  return (
    <Menu label={chosen ? `${chosen.key}${count && ` · ${count}`}` : "Choose a queue"}>
      {(close) => <QueueForm done={close} />}
    </Menu>
  );
}

function QueueForm({ done }: { done: () => void }) {
  const chosen = queue.value;
  const text = useSignal(chosen?.name ?? "");
  const use = (event: Event) => {
    event.preventDefault();
    setParameters({ queue: text.value.trim() || undefined });
    done();
  };
  if (chosen?.overridden) return <p>The page around this one chose the queue <b>{chosen.key}</b>.</p>;
  return (
    <form onSubmit={use}>
      <label class="field">
        <span>Queue</span>
        <input value={text.value} onInput={(event) => void (text.value = event.currentTarget.value)} placeholder="a name, or https://grid/queue" spellcheck={false} autofocus />
      </label>
      <button type="submit">Use it</button> {!chosen && <NewQueue />}
      <p class="quiet">A queue exists as soon as somebody uses its name. Who knows the name can use the queue.</p>
    </form>
  );
}

export function Problem() {
  if (!problem.value) return null;
  return (
    <div class="card bad" role="alert">
      <p>{problem.value}</p>
      <button type="button" class="small" onClick={() => void (problem.value = "")}>Dismiss</button>
    </div>
  );
}

export function RunId() {
  return run.value ? <a class="id" href={run.value.api.queue === undefined ? `/j/${run.value.id}` : `/j/${run.value.id}#?queue=${queue.value?.name ?? ""}`}>{short(run.value.id)}</a> : null;
}
