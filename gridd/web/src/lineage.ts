/** Which jobs are earlier runs of what stands on this page: the grid's list, this browser's
 * memory, and the present run, joined. Pure. */

import type { Job } from "./api";
import { hasBuild, type Definition } from "./definition";
import type { Remembered } from "./remembered";

export interface Entry {
  id: string;
  /** When it ended, else when it was submitted or begun here; ms since the epoch. */
  time: number;
  /** Undefined: known to this browser alone, the grid lists it no more. */
  job?: Job;
  /** Its first words, where the definition is not here. */
  title?: string;
}

/** Newest first; what waits and runs stands before what has ended. */
export function joined(lists: Record<string, Job>[], remembered: Remembered[], present: { id: string; job?: Job | undefined } | undefined): Entry[] {
  const found = new Map<string, Entry>();
  for (const { id, time, title } of remembered) found.set(id, { id, time, title });
  const add = (id: string, job: Job) => {
    const before = found.get(id);
    if (job.state === "Removed" || (before?.job && before.job.time > job.time)) return;
    found.set(id, { ...before, id, time: job.state === "Finished" ? job.time : job.queuedTime, job });
  };
  for (const list of lists) for (const [id, job] of Object.entries(list)) add(id, job);
  if (present?.job) add(present.id, present.job);
  const rank = (entry: Entry) => (entry.job && entry.job.state !== "Finished" ? 0 : 1);
  return [...found.values()].sort((a, b) => rank(a) - rank(b) || b.time - a.time);
}

/** What is looked into: the newest `most` of the live ones and of the ended ones each, so that a
 * crowd in the queue hides nothing, and all that `own` names. In the list's order. */
export function near(entries: Entry[], most: number, own: ReadonlySet<string>): Entry[] {
  const left = { live: most, ended: most };
  return entries.filter(({ id, job }) => left[job && job.state !== "Finished" ? "live" : "ended"]-- > 0 || own.has(id));
}

/** Do two definitions look like two states of one page? The same image (whatever its tag), build or
 * machine with the same program, or one of them the same and a file of the same name. */
export function isAlike(a: Definition, b: Definition): boolean {
  const samePlace = placeOf(a) === placeOf(b);
  const sameProgram = programOf(a) === programOf(b);
  if (samePlace && sameProgram) return true;
  const names = Object.keys(a.configFiles ?? {});
  return (samePlace || sameProgram) && names.some((name) => name in (b.configFiles ?? {}));
}

function placeOf(definition: Definition): string {
  if (hasBuild(definition)) return `build ${definition.build?.context ?? ""}`;
  return String(definition.image ?? "").replace(/@.*$/, "").replace(/:[^/:]*$/, "");
}

/** The first word of the command: `python`, `sh`, `./run`. */
function programOf(definition: Definition): string {
  return String(definition.command ?? "").trim().split(/\s+/)[0]!.replace(/^.*\//, "");
}
