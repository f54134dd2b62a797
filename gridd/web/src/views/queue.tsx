/** A queue, live: what waits, runs and ended, and who works on it. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { queue } from "../address";
import { detailsOf } from "../details";
import { ownersOf, rowsOf, stateOf, timeOf, type Row, type Show } from "../queuerows";
import { quoted } from "../shell";
import { api, now, run, stop, view } from "../store";
import { counted, number, OWN_MACHINE, sentence, short, workerName } from "../words";
import { NoWorker } from "./noworker";
import { Ago, Command } from "./parts";
import "../queue.css";
import { Workers } from "./workers";

const ROWS_STEP = 100; // of a long queue, the first ones
const ROWS_MAX = 1_000;
const SHOWS: [Show, string][] = [["all", "All"], ["running", "Running"], ["waiting", "Waiting"], ["ended", "Ended"]];

export function Queue() {
  const show = useSignal<Show>("all");
  const most = useSignal(ROWS_STEP);
  const shown = view.value;
  useEffect(() => {
    const timer = setInterval(() => void (now.value = Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  if (!shown) return <p class="quiet pad">No queue is chosen.</p>;
  void shown.changes.value;
  const { rows, counts } = rowsOf(shown.jobs, show.value);
  const workers = shown.workers.value;
  const visible = rows.slice(0, most.value);
  const choose = (next: Show) => {
    show.value = next;
    most.value = ROWS_STEP;
  };
  return (
    <div class="queue">
      <p class="sum">{counted(counts.running, "job")} running · {number(counts.waiting)} waiting · {counted(workers?.length ?? 0, "worker")}</p>
      {workers?.length === 0 && <NoWorker />}
      {counts.all > 0 && (
        <div class="shows" role="group" aria-label="Which jobs">
          {SHOWS.map(([name, label]) => (
            <button key={name} type="button" class="small" aria-pressed={show.value === name} onClick={() => choose(name)}>
              {label}<span class="count">{counts[name] ? number(counts[name]) : ""}</span>
            </button>
          ))}
        </div>
      )}
      {visible.length > 0 && <Jobs rows={visible} waiting={counts.waiting} />}
      {rows.length > visible.length && <More left={rows.length - visible.length} most={most} />}
      {counts.all > 0 && rows.length === 0 && <p class="quiet">None now.</p>}
      {counts.all === 0 && <NoJobs />}
      {workers && workers.length > 0 && <Workers workers={workers} jobs={shown.jobs} />}
    </div>
  );
}

function More({ left, most }: { left: number; most: { value: number } }) {
  if (most.value >= ROWS_MAX) return <p class="quiet">{number(left)} more are not shown.</p>;
  return <p><button type="button" class="small" onClick={() => void (most.value += ROWS_STEP)}>Show more of {number(left)}</button></p>;
}

function NoJobs() {
  const { base, queue: key = "QUEUE" } = api.value;
  return (
    <div class="card">
      <p>No job waits or runs here. Ended ones stay in this list for a minute. Send one from this page, or from a terminal:</p>
      <Command text={`gridd run --api ${quoted(base)} --queue ${quoted(key)} --image alpine:3.20 -- echo hello`} />
    </div>
  );
}

function Jobs({ rows, waiting }: { rows: Row[]; waiting: number }) {
  const hasOwners = rows.some(({ job }) => ownersOf(job));
  const heads = ["Job", "State", "Time", ...(hasOwners ? ["Owner"] : []), "Worker"];
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Jobs">
      <table class="jobs">
        <thead><tr>{heads.map((it) => <th scope="col" key={it}>{it}</th>)}<th scope="col"><span class="offscreen">Actions</span></th></tr></thead>
        <tbody>{rows.map((row) => <JobRow key={row.id} row={row} waiting={waiting} hasOwners={hasOwners} />)}</tbody>
      </table>
    </div>
  );
}

function JobRow({ row, waiting, hasOwners }: { row: Row; waiting: number; hasOwners: boolean }) {
  const { id, job } = row;
  const element = useRef<HTMLTableRowElement>(null);
  const details = detailsOf(api.value);
  const hasEnded = job.state === "Finished";
  useEffect(() => {
    const want = () => {
      details.wantDefinition(row);
      if (hasEnded) details.wantEnd(row);
    };
    return whileSeen(element.current!, want, () => details.unwant(row));
  }, [details, id, hasEnded, hasEnded && job.time]);
  const definition = details.definition(id).value;
  const what = definition && sentence(definition);
  const { word, tone } = stateOf(row, waiting, hasEnded ? details.end(row).value?.exitCode : undefined);
  return (
    <tr ref={element} class={run.value?.id === id ? "chosen" : ""}>
      <td class="about">
        <a class="id" href={`/j/${id}#?queue=${queue.value?.name ?? ""}`}>{short(id)}</a>
        {what && <span class="what" title={`${what.what}\n${what.where}`}>{what.what || "its own command"}{what.where && <small> {what.where === OWN_MACHINE ? "on" : "in"} {what.where}</small>}</span>}
      </td>
      <td><span class={`dot ${tone}`} aria-hidden="true" />{word}</td>
      <td class="time">{timeOf(row, now.value)}{hasEnded && <small> <Ago time={job.time} /></small>}</td>
      {hasOwners && <td>{ownersOf(job)}</td>}
      <td><span title={job.worker}>{workerName(job.worker)}</span></td>
      <td>{!hasEnded && <button type="button" class="small" aria-label={`Stop ${short(id)}`} onClick={() => void stop(id, "*")}>Stop</button>}</td>
    </tr>
  );
}

const seen = new Map<Element, [() => void, () => void]>();
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) seen.get(target)?.[isIntersecting ? 0 : 1]();
}, { rootMargin: "100px" });

function whileSeen(element: Element, comes: () => void, goes: () => void): () => void {
  seen.set(element, [comes, goes]);
  observer.observe(element);
  return () => {
    goes();
    observer.unobserve(element);
    seen.delete(element);
  };
}
