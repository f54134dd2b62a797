/**
 * What a list does not tell of its jobs: what they run, and how they ended. Asked for one by one,
 * for those that somebody looks at, a few at a time; a queue of thousands costs what a screen of it
 * costs. A definition never changes; an end belongs to its moment.
 */

import { signal, type Signal } from "@preact/signals";
import type { Api, Happened, Job } from "./api";
import type { Definition } from "./definition";

export const ASKED_MAX = 4; // at one time: the grid has more to do
export const KEPT_MAX = 2_000; // answers of each sort; those used last stay

/** `job`: undefined for one that only this browser knows. */
export interface Of {
  id: string;
  job?: Job;
}

export interface End {
  /** Empty: the grid knows nothing of it any more. */
  events: Happened[];
  exitCode: number | undefined;
  /** Of the program, in ms; of one that was ended, since it was given to its worker. */
  took: number | undefined;
  reason: string | undefined;
}

type Asking = Pick<Api, "definition" | "history">;
type Kept<T> = Map<string, Signal<T | undefined>>;

export class Details {
  /** Counts what has arrived. */
  readonly changed = signal(0);
  private readonly definitions: Kept<Definition | null> = new Map();
  private readonly ends: Kept<End> = new Map();
  private readonly wanted = new Map<string, () => Promise<void>>();
  private readonly asked = new Set<string>();

  constructor(private readonly api: Asking) {}

  /** `undefined`: not here yet; null: the grid has it no more. */
  definition(id: string): Signal<Definition | null | undefined> {
    return kept(this.definitions, id);
  }

  end(of: Of): Signal<End | undefined> {
    return kept(this.ends, momentOf(of));
  }

  /** Twice is fine; what is known is not asked for again, and what failed is. */
  wantDefinition({ id }: Of): void {
    this.want(`definition ${id}`, this.definition(id), () => this.api.definition(id));
  }

  /** Of a job that has ended, or of which only this browser knows. */
  wantEnd(of: Of): void {
    if (of.job && of.job.state !== "Finished") return;
    this.want(`end ${momentOf(of)}`, this.end(of), async () => endOf(await this.api.history(of.id)));
  }

  /** Nobody looks at it any more, perhaps before anything was asked. */
  unwant(of: Of): void {
    this.wanted.delete(`definition ${of.id}`);
    this.wanted.delete(`end ${momentOf(of)}`);
  }

  private want<T>(what: string, into: Signal<T | undefined>, ask: () => Promise<T>): void {
    if (into.peek() !== undefined || this.asked.has(what)) return;
    this.wanted.set(what, async () => {
      into.value = await ask();
      this.changed.value++;
    });
    this.ask();
  }

  private ask(): void {
    while (this.asked.size < ASKED_MAX) {
      const [what, look] = this.wanted.entries().next().value ?? [];
      if (what === undefined || look === undefined) return;
      this.wanted.delete(what);
      this.asked.add(what);
      void look().catch(() => undefined).finally(() => { // asked anew when it is wanted anew
        this.asked.delete(what);
        this.ask();
      });
    }
  }
}

let latest: { from: Api; details: Details } | undefined;

/** Of the queue that is looked at, for all lists of it: another one has other jobs, or the same
 * with other ends. */
export function detailsOf(from: Api): Details {
  if (latest?.from !== from) latest = { from, details: new Details(from) };
  return latest.details;
}

function kept<T>(map: Kept<T>, key: string): Signal<T | undefined> {
  const found = map.get(key) ?? signal<T | undefined>(undefined);
  map.delete(key); // the ones used last are the last to go
  map.set(key, found);
  if (map.size > KEPT_MAX) map.delete(map.keys().next().value!);
  return found;
}

function momentOf({ id, job }: Of): string {
  return `${id} ${job?.time ?? 0}`;
}

export function endOf(events: Happened[]): End {
  const last = events[events.length - 1];
  const end = last?.event === "finished" ? last : undefined;
  return { events, exitCode: end?.exitCode, took: end?.duration ?? end?.ran, reason: end?.reason };
}
