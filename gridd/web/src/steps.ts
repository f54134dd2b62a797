/** What a log tells of the way of a job: pulls, a build, the run, each with its lines, its state and
 * how long it took. Pure. */

import type { Job } from "./api";
import type { Definition } from "./definition";
import { hasBuild } from "./definition";
import type { Line, LogText } from "./log";

export type StepState = "running" | "done" | "failed" | "stopped";
export type LogName = "build" | "run";

export interface Step {
  key: string;
  title: string;
  state: StepState;
  /** Beside the state, for people: an exit code, say. */
  word: string;
  log: LogName;
  lines: Line[];
  /** Its part of `lines`. */
  from: number;
  to: number;
  /** How many lines are in `lines` no more: those of this step, and all of its log. */
  missing: number;
  dropped: number;
  /** ms since the epoch, 0 if unknown. */
  begun: number;
  /** ms; undefined while it runs. */
  took: number | undefined;
  /** Unless somebody opened or closed it. */
  isOpen: boolean;
}

export interface Told {
  job: Job | undefined;
  definition: Definition | undefined;
  build: LogText;
  run: LogText;
}

export function stepsOf(told: Told): Step[] {
  const hasBegun = begun(told);
  const steps = told.build.sections.map((_, at) => buildStep(told, at, hasBegun));
  if (told.run.lines.length || (steps.length && hasBegun)) steps.push(runStep(told));
  return steps;
}

/** The program was started. */
export function begun({ job, run }: Told): boolean {
  const result = job?.finished?.result;
  return Boolean(job?.startedTime) || run.lines.length > 0 || result?.StatusCode !== undefined || result?.duration !== undefined;
}

function buildStep(told: Told, at: number, hasBegun: boolean): Step {
  const { sections, lines, dropped, end } = told.build;
  // Remarks may stand before the first one.
  const first = at === 0 ? 0 : sections[at]!.from;
  const next = sections[at + 1]?.from ?? end;
  const [from, to] = [Math.max(0, first - dropped), Math.max(0, next - dropped)];
  const state = at + 1 < sections.length || hasBegun ? "done" : lastState(told.job);
  const start = timeAt(lines, from, to);
  const stop = timeAt(lines, to, lines.length) || (lines[to - 1]?.time ?? 0);
  return {
    key: `build-${at}`, title: titleOf(told, sections[at]!.step, lines, from, to), state, word: state,
    log: "build", lines, from, to, missing: Math.max(0, Math.min(dropped, next) - first), dropped,
    begun: start, took: state === "running" || !start ? undefined : Math.max(0, stop - start),
    isOpen: state === "failed" || !hasBegun,
  };
}

function runStep(told: Told): Step {
  const { job, run } = told;
  const result = job?.finished?.result;
  const code = result?.StatusCode;
  const state = job?.finishedReason === "Success" && !code ? "done" : code || job?.finishedReason === "TimedOut" ? "failed" : lastState(job);
  const word = job?.finishedReason === "TimedOut" ? "timed out" : code ? `exit code ${code}` : state;
  const start = job?.startedTime || timeAt(run.lines, 0, run.lines.length);
  return {
    key: "run", title: "Run", state, word, log: "run",
    lines: run.lines, from: 0, to: run.lines.length, missing: run.dropped, dropped: run.dropped,
    begun: start, took: result?.duration, isOpen: true,
  };
}

/** Of the step that came last. */
function lastState(job: Job | undefined): StepState {
  if (job?.state === "Running") return "running";
  return job?.finishedReason === "Error" ? "failed" : "stopped";
}

function timeAt(lines: Line[], from: number, to: number): number {
  for (let at = from; at < to; at++) if (lines[at]!.time) return lines[at]!.time;
  return 0;
}

const TITLES: Record<string, string> = {
  "cloning repo": "Fetch what is built",
  "docker build": "Build",
  "docker image push": "Push the image",
};

function titleOf({ definition }: Told, step: string, lines: Line[], from: number, to: number): string {
  if (step !== "docker image pull") return TITLES[step] ?? "Prepare";
  if (!hasBuild(definition ?? {}) && definition?.image) return `Pull ${definition.image}`;
  for (const line of lines.slice(from, Math.min(to, from + 5))) {
    const told = /^(\S+): Pulling from (?:library\/)?(\S+)/.exec(line.text);
    if (told) return `Pull ${told[2]}:${told[1]}`;
  }
  return "Pull";
}
