/** A queue, live: who works on it, what waits and runs. */

import { useSignal } from "@preact/signals";
import type { Job, Worker } from "../api";
import { queue } from "../address";
import { api, now, run, stop, view } from "../store";
import { clock, counted, short, size } from "../words";
import { Ago, Command } from "./parts";

const ROWS_MAX = 100; // of a long queue, the first ones

export function workerCommand(): string {
  const { base, queue: key } = api.value;
  return `gridd-worker run --api-address ${base} ${key ?? "QUEUE"}`;
}

export function NoWorker() {
  return (
    <div class="card">
      <h2>No worker is connected to this queue</h2>
      <p>Jobs wait until one is. Start one on any machine that reaches this grid:</p>
      <Command text={workerCommand()} />
      <p class="quiet">It needs Python with <code>gridd</code> installed, and Docker for jobs that name an image.</p>
    </div>
  );
}

export function Queue() {
  const all = useSignal(false);
  const shown = view.value;
  if (!shown) return <p class="quiet pad">No queue is chosen.</p>;
  void shown.changes.value;
  const jobs = [...shown.jobs].sort(order);
  const count = (state: string) => jobs.filter(([, job]) => job.state === state).length;
  const workers = shown.workers.value;
  const visible = all.value ? jobs.slice(0, 1000) : jobs.slice(0, ROWS_MAX);
  return (
    <div class="queue">
      <p class="sum">{counted(count("Running"), "job")} running · {count("Queued").toLocaleString("en")} waiting · {counted(workers?.length ?? 0, "worker")}</p>
      {workers && workers.length === 0 && <NoWorker />}
      {workers && workers.length > 0 && <Workers workers={workers} />}
      {jobs.length > 0 && (
        <div class="scroll">
          <table>
            <thead><tr><th scope="col">Job</th><th scope="col">State</th><th scope="col">Since</th><th scope="col">Worker</th><th scope="col"><span class="offscreen">Actions</span></th></tr></thead>
            <tbody>{visible.map(([id, job]) => <JobRow key={id} id={id} job={job} />)}</tbody>
          </table>
          {jobs.length > visible.length && <p><button type="button" class="small" onClick={() => void (all.value = true)} disabled={all.value}>{jobs.length - visible.length} more</button></p>}
        </div>
      )}
      {jobs.length === 0 && <p class="quiet">No jobs now. Ended jobs stay in this list for a minute.</p>}
    </div>
  );
}

/** What runs, then what waits in its order, then what ended, newest first. */
function order([, a]: [string, Job], [, b]: [string, Job]): number {
  const rank = { Running: 0, Queued: 1, Finished: 2, Removed: 3 };
  return rank[a.state] - rank[b.state] || (a.state === "Finished" ? b.time - a.time : a.queuedTime - b.queuedTime);
}

function JobRow({ id, job }: { id: string; job: Job }) {
  const isLive = job.state === "Queued" || job.state === "Running";
  return (
    <tr class={run.value?.id === id ? "chosen" : ""}>
      <td><a class="id" href={`/j/${id}#?queue=${queue.value?.name ?? ""}`}>{short(id)}</a></td>
      <td><span class={`dot ${tone(job)}`} aria-hidden="true" />{stateOf(job)}</td>
      <td>{isLive ? clock(now.value - (job.state === "Running" ? job.startedTime || job.time : job.queuedTime)) : <Ago time={job.time} />}</td>
      <td>{job.worker}</td>
      <td>{isLive && <button type="button" class="small" aria-label={`Stop ${short(id)}`} onClick={() => void stop(id, "*")}>Stop</button>}</td>
    </tr>
  );
}

function stateOf(job: Job): string {
  if (job.state === "Queued") return "waiting";
  if (job.state === "Running") return "running";
  const words: Record<string, string> = { Success: "ended", Error: "failed", TimedOut: "timed out" };
  return words[job.finishedReason ?? ""] ?? "ended";
}

function tone(job: Job): string {
  if (job.state === "Queued") return "wait";
  if (job.state === "Running") return "busy";
  return job.finishedReason === "Success" ? "idle" : "bad"; // a list does not tell the exit code
}

function Workers({ workers }: { workers: Worker[] }) {
  return (
    <div class="scroll">
      <table>
        <thead><tr><th scope="col">Worker</th><th scope="col">Has</th><th scope="col">Jobs</th><th scope="col">Longest job</th><th scope="col">Version</th></tr></thead>
        <tbody>
          {workers.map((it) => (
            <tr key={it.id}>
              <td>{it.id.length > 24 ? `${it.id.slice(0, 24)}…` : it.id}{it.draining ? " (leaving)" : ""}</td>
              <td>{[counted(it.cpus, "cpu"), it.gpus ? counted(it.gpus, "gpu") : "", it.memory ? size(it.memory) : "", ...(it.tags ?? [])].filter(Boolean).join(" · ")}</td>
              <td>{it.running ?? 0}</td>
              <td>{it.maxJobDuration}</td>
              <td>{it.version}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
