/** What a list of runs shows of each beside its state: definition, exit code, duration. Asked for a
 * few at a time, each once; a definition never changes, an end belongs to its moment. */

import { signal } from "@preact/signals";
import type { Api, Happened } from "./api";
import type { Definition } from "./definition";
import type { Entry } from "./lineage";

const AT_ONCE = 4;
const KEPT_MAX = 2_000; // answers; a list shows some hundred

export interface End {
  /** Empty: the grid knows nothing of it any more. */
  events: Happened[];
  exitCode: number | undefined;
  /** Of the program, in ms; of one that was ended, since it was given to its worker. */
  took: number | undefined;
  reason: string | undefined;
}

type Asking = Pick<Api, "definition" | "history">;

export class Details {
  /** Counts what has arrived. */
  readonly changed = signal(0);
  private readonly definitions = new Map<string, Definition | null>();
  private readonly ends = new Map<string, End>();
  private waiting: (() => Promise<void>)[] = [];
  private readonly asked = new Set<string>();
  private busy = 0;

  constructor(private readonly api: Asking) {}

  /** `undefined`: not here yet; null: the grid has it no more. */
  definition(id: string): Definition | null | undefined {
    return this.definitions.get(id);
  }

  end(entry: Entry): End | undefined {
    return this.ends.get(keyOf(entry));
  }

  wantDefinitions(entries: Entry[]): void {
    for (const { id } of entries) this.once(`definition ${id}`, async () => void this.definitions.set(id, await this.api.definition(id)));
  }

  /** Of jobs that have ended, or of which only this browser knows. */
  wantEnds(entries: Entry[]): void {
    for (const entry of entries) {
      if (entry.job && entry.job.state !== "Finished") continue;
      this.once(`end ${keyOf(entry)}`, async () => void this.ends.set(keyOf(entry), endOf(await this.api.history(entry.id))));
    }
  }

  private once(what: string, ask: () => Promise<void>): void {
    if (this.asked.has(what)) return;
    if (this.asked.size >= KEPT_MAX) this.forget();
    this.asked.add(what);
    this.waiting.push(async () => {
      try {
        await ask();
        this.changed.value++;
      } catch {
        this.asked.delete(what); // asked again when it is wanted again
      }
    });
    if (this.busy < AT_ONCE) void this.work();
  }

  /** A page that is open for days: what is still shown is asked for again. */
  private forget(): void {
    this.asked.clear();
    this.definitions.clear();
    this.ends.clear();
  }

  private async work(): Promise<void> {
    this.busy++;
    for (let ask = this.waiting.shift(); ask; ask = this.waiting.shift()) await ask();
    this.busy--;
  }
}

function keyOf({ id, job }: Entry): string {
  return `${id} ${job?.time ?? 0}`;
}

export function endOf(events: Happened[]): End {
  const last = events[events.length - 1];
  const end = last?.event === "finished" ? last : undefined;
  return { events, exitCode: end?.exitCode, took: end?.duration ?? end?.ran, reason: end?.reason };
}
