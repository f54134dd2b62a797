/** A queue in rows: what stands where, and in which words. Pure. */

import type { Job } from "./api";
import { clock, duration, number, ordinal, type Tone } from "./words";

export type Show = "all" | "running" | "waiting" | "ended";

export interface Row {
  id: string;
  job: Job;
  /** Its place in the line, from 1; 0 for what does not wait. */
  place: number;
}

export interface Rows {
  rows: Row[];
  counts: Record<Show, number>;
}

/** What runs, longest first; what waits, in its order; what ended, newest first. */
export function rowsOf(jobs: Iterable<[string, Job]>, show: Show): Rows {
  const running: Row[] = [];
  const waiting: Row[] = [];
  const ended: Row[] = [];
  for (const [id, job] of jobs) {
    const into = job.state === "Running" ? running : job.state === "Queued" ? waiting : ended;
    into.push({ id, job, place: 0 });
  }
  running.sort((a, b) => a.job.time - b.job.time);
  waiting.sort((a, b) => a.job.queuedTime - b.job.queuedTime);
  waiting.forEach((row, at) => void (row.place = at + 1));
  ended.sort((a, b) => b.job.time - a.job.time);
  const all = [...running, ...waiting, ...ended];
  const counts = { all: all.length, running: running.length, waiting: waiting.length, ended: ended.length };
  return { rows: { all, running, waiting, ended }[show], counts };
}

/** `exitCode`: undefined when it is not known (yet). */
export function stateOf({ job, place }: Row, waiting: number, exitCode?: number): { word: string; tone: Tone } {
  if (job.state === "Queued") {
    const again = (job.attempt ?? 0) > 0 ? ", again: its worker was lost" : "";
    return { word: `waiting, ${ordinal(place)} of ${number(waiting)}${again}`, tone: "wait" };
  }
  if (job.state === "Running") return { word: job.startedTime ? "running" : "getting ready", tone: "busy" };
  switch (job.finishedReason) {
    case "Success":
      if (exitCode === undefined) return { word: "ended", tone: "idle" };
      return exitCode === 0 ? { word: "done", tone: "good" } : { word: `failed with exit code ${exitCode}`, tone: "bad" };
    case "Error": return { word: "could not be run", tone: "bad" };
    case "TimedOut": return { word: "ran too long", tone: "bad" };
    case "Cancelled": return { word: "stopped", tone: "idle" };
    default: return { word: "ended", tone: "idle" };
  }
}

/** How long it waits, runs or ran. */
export function timeOf({ job }: Row, now: number): string {
  if (job.state === "Queued") return `waits ${clock(now - job.queuedTime)}`;
  if (job.state === "Running") return job.startedTime ? `runs ${clock(now - job.startedTime)}` : `given ${clock(now - job.time)} ago`;
  return job.startedTime ? `ran ${duration(job.time - job.startedTime)}` : "";
}

export function ownersOf(job: Job): string {
  return job.namespaces.filter((name) => name !== "_").join(", ");
}

export interface Use {
  jobs: number;
  cpus: number;
  gpus: number;
  memory: number;
}

/** What the running jobs asked for, by worker: a job that says nothing is given one cpu. */
export function useOf(jobs: Iterable<Job>): Map<string, Use> {
  const found = new Map<string, Use>();
  for (const job of jobs) {
    if (job.state !== "Running") continue;
    const use = found.get(job.worker) ?? { jobs: 0, cpus: 0, gpus: 0, memory: 0 };
    const { cpus = 1, gpus = 0, memory } = job.requirements ?? {};
    use.jobs++;
    use.cpus += Number(cpus) || 0;
    use.gpus += Number(gpus) || 0;
    use.memory += bytesOf(memory);
    found.set(job.worker, use);
  }
  return found;
}

/** As Docker reads sizes: every unit is a power of 1024. What is none is nothing. */
export function bytesOf(text: unknown): number {
  if (typeof text === "number") return text;
  const match = /^\s*(\d+\.?\d*|\.\d+)\s*([kmgtp]?)(?:i?b)?\s*$/i.exec(String(text ?? ""));
  return match ? Number(match[1]) * 1024 ** ["", "k", "m", "g", "t", "p"].indexOf(match[2]!.toLowerCase()) : 0;
}

export function ofHad(used: number, had: number): string {
  const short = (n: number) => String(Math.round(n * 100) / 100);
  return `${short(used)} of ${short(had)}`;
}

