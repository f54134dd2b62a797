/** What the page says: states, times, sizes, and failures with the next step. Pure. */

import type { Explanation, Job, Result } from "./api";
import type { Definition } from "./definition";
import { hasBuild } from "./definition";

export type Tone = "idle" | "wait" | "busy" | "good" | "bad";

export interface Status {
  word: string;
  tone: Tone;
  detail: string;
}

export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

export function two(n: number): string {
  return String(n).padStart(2, "0");
}

/** Whole seconds, for a clock that runs. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** About how long, in one unit. */
export function about(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129_600 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  for (const unit of ["kB", "MB", "GB", "TB"]) {
    bytes /= 1000;
    if (bytes < 1000) return `${bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${unit}`;
  }
  return `${Math.round(bytes)} PB`;
}

export function number(n: number): string {
  return n.toLocaleString("en");
}

export function counted(count: number, what: string): string {
  return `${number(count)} ${what}${count === 1 ? "" : "s"}`;
}

export function ordinal(n: number): string {
  const tens = n % 100;
  const end = tens >= 11 && tens <= 13 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${end}`;
}

export function short(id: string): string {
  return id.slice(0, 8);
}

/** Its own name, if somebody gave it one; of an id that was drawn, enough to tell it from others. */
export function workerName(id: string): string {
  if (/^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(id) || /^[0-9a-f]{32,}$/i.test(id)) return id.slice(0, 8);
  return id.length > 28 ? `${id.slice(0, 27)}…` : id;
}

export const OWN_MACHINE = "the worker's own machine";

/** What a definition does, in a few words: where it runs, and what. */
export function sentence(definition: Definition | undefined): { where: string; what: string } {
  if (!definition || (!definition.command && !definition.image && !hasBuild(definition))) return { where: "", what: "" };
  const what = definition.command ? String(definition.command) : "";
  if (hasBuild(definition)) {
    const from = definition.build?.context;
    return { where: from ? `an image built from ${from}` : "an image built from its Dockerfile", what };
  }
  return { where: definition.image || OWN_MACHINE, what };
}

/** What comes before the program runs, by the step that its log tells. */
const PHASES: Record<string, string> = {
  "docker image pull": "pulling the image · ",
  "cloning repo": "fetching the repository · ",
  "docker build": "building the image · ",
  "docker image push": "storing the image · ",
};

/** `step`: of the last line that was logged, if any was. */
export function statusOf(job: Job | undefined, why: Explanation | null, now: number, step = ""): Status {
  if (!job) return { word: "Sending", tone: "wait", detail: "" };
  if (job.state === "Queued") {
    const waited = clock(now - job.queuedTime);
    if (why && !why.workersConnected) return { word: "Waiting", tone: "bad", detail: "no worker on this queue" };
    if (why && why.workers.length && !why.workers.some((it) => it.could)) {
      return { word: "Waiting", tone: "bad", detail: "no worker here can run it" };
    }
    const place = why && why.waiting ? `${ordinal(why.ahead + 1)} of ${why.waiting} · ` : "";
    const again = (job.attempt ?? 0) > 0 ? " · its worker was lost, it runs again" : "";
    return { word: "Waiting", tone: "wait", detail: `${place}${waited}${again}` };
  }
  if (job.state === "Running") {
    const prepares = !job.startedTime;
    return {
      word: prepares ? "Preparing" : "Running",
      tone: "busy",
      detail: `${clock(now - (job.startedTime || job.time))} · ${prepares ? (PHASES[step] ?? "") : ""}on ${workerName(job.worker)}`,
    };
  }
  return ended(job);
}

function ended(job: Job): Status {
  const { finishedReason: reason, finished } = job;
  const result = finished?.result;
  const end = outcomeOf(reason, result?.StatusCode ?? 0);
  const took = result?.duration === undefined ? "" : duration(result.duration);
  const details: Record<string, string> = {
    Success: took && `${end.tone === "good" ? "in" : "after"} ${took}`,
    Error: "it could not be run",
    TimedOut: took && `after ${took}`,
    Cancelled: finished?.message ?? "",
    JobReplacedByClient: "by a newer job of the same page",
  };
  return { ...end, detail: details[reason ?? ""] ?? "" };
}

const ENDS: Record<string, [word: string, tone: Tone]> = {
  Error: ["Failed", "bad"], TimedOut: ["Timed out", "bad"], Cancelled: ["Stopped", "idle"], JobReplacedByClient: ["Replaced", "idle"], Deleted: ["Deleted", "idle"],
};

/** How a job ended, in a word or two. */
export function outcomeOf(reason: string | undefined, exitCode: number | undefined): { word: string; tone: Tone } {
  if (reason === "Success") return exitCode ? { word: `Exit code ${exitCode}`, tone: "bad" } : { word: "Done", tone: "good" };
  const [word, tone] = ENDS[reason ?? ""] ?? [reason ?? "Ended", "idle"];
  return { word, tone };
}

/** What went wrong, and what to do about it. */
export interface Failure {
  title: string;
  text: string;
  next: string;
}

export function failureOf(job: Job, definition: Definition | undefined): Failure | undefined {
  const result = job.finished?.result ?? {};
  const error = errorText(result);
  if (job.finishedReason === "TimedOut") {
    const limit = definition?.maxDuration ?? definition?.requirements?.maxDuration;
    return {
      title: limit ? `It ran longer than its limit of ${limit}` : "It ran longer than the worker allows",
      text: "The worker ended it. Files that it had written by then are among the outputs.",
      next: "Give it more time under Resources, or ask whoever runs the worker for a longer limit.",
    };
  }
  if (job.finishedReason === "Error") return { ...causeOf(error), text: error };
  if (job.finishedReason === "Success" && result.StatusCode) return exitOf(result.StatusCode, error);
  return undefined;
}

function errorText(result: Result): string {
  const error = result.error;
  if (!error) return "";
  if (typeof error === "string") return error;
  const message = (error as { message?: unknown }).message;
  return typeof message === "string" ? message : JSON.stringify(error);
}

function causeOf(error: string): { title: string; next: string } {
  if (/manifest|pull|no such image|repository|registry|image .*not found/i.test(error)) {
    return {
      title: "The image could not be had",
      next: "Check its name and tag. A private image needs a worker that is logged in to its registry.",
    };
  }
  if (/build|dockerfile/i.test(error)) {
    return { title: "The image could not be built", next: "The build's own words are in the log." };
  }
  if (/input|download|hash|sha256/i.test(error)) {
    return { title: "An input could not be had", next: "Check the addresses of the inputs, or upload the files again." };
  }
  if (/output|disk|space/i.test(error)) {
    return { title: "The outputs could not be stored", next: "Write less below the outputs folder, or try another worker." };
  }
  return { title: "The job could not be run", next: "If the words below do not help, try another worker." };
}

function exitOf(code: number, error: string): Failure {
  const known: Record<number, [string, string]> = {
    126: ["The command can't be executed", "Make the file executable, or name its interpreter: python run.py."],
    127: ["The command was not found", "Check its name, and that the image has it."],
    134: ["The program aborted itself", "Its last words are in the log."],
    137: ["The program was killed", "Most often it used more memory than it may have: ask for more under Resources."],
    139: ["The program crashed (bad memory access)", "This is a fault in the program or one of its libraries."],
    143: ["The program was asked to stop", "Somebody or something ended it from outside."],
  };
  const [title, next] = known[code] ?? [`The program ended with exit code ${code}`, "Its last words are in the log."];
  return { title, text: error, next };
}
