/**
 * What a queue's list does not tell of its jobs: what they run, and how they ended. Asked for one by
 * one, for the rows that are seen; so a queue of thousands costs no more than a screen of them.
 */

import { signal, type Signal } from "@preact/signals";
import type { Definition } from "./definition";
import { sentence } from "./words";

export interface Detail {
  where: string;
  what: string;
}

export interface Source {
  definition(id: string): Promise<Definition | null>;
  exitCode(id: string): Promise<number | undefined>;
}

export const KEPT_MAX = 1_000; // of those that nobody looks at
export const ASKED_MAX = 4; // at one time: the grid has more to do

export class Details {
  private readonly known = new Map<string, Signal<Detail | undefined>>();
  private readonly codes = new Map<string, Signal<number | undefined>>();
  private readonly wanted = new Map<string, () => Promise<void>>();
  private asked = 0;

  constructor(private readonly from: Source) {}

  what(id: string): Signal<Detail | undefined> {
    return kept(this.known, id);
  }

  exitCode(id: string): Signal<number | undefined> {
    return kept(this.codes, id);
  }

  /** It is seen. Twice is fine; what is known is not asked for again. */
  want(id: string, hasEnded: boolean): void {
    const [what, code] = [this.what(id), this.exitCode(id)];
    if (what.peek() === undefined) {
      this.wanted.set(`what ${id}`, async () => {
        what.value = sentence((await this.from.definition(id)) ?? undefined);
      });
    }
    if (hasEnded && code.peek() === undefined) {
      this.wanted.set(`code ${id}`, async () => void (code.value = await this.from.exitCode(id)));
    }
    this.ask();
  }

  /** It is seen no more, perhaps before anything was asked. */
  unwant(id: string): void {
    this.wanted.delete(`what ${id}`);
    this.wanted.delete(`code ${id}`);
  }

  /** It runs again: how it ended before says nothing. */
  forget(id: string): void {
    this.codes.delete(id);
  }

  private ask(): void {
    while (this.asked < ASKED_MAX) {
      const [key, look] = this.wanted.entries().next().value ?? [];
      if (key === undefined || look === undefined) return;
      this.wanted.delete(key);
      this.asked++;
      void look().catch(() => undefined).finally(() => { // asked anew when it is seen anew
        this.asked--;
        this.ask();
      });
    }
  }
}

function kept<T>(map: Map<string, Signal<T | undefined>>, id: string): Signal<T | undefined> {
  let found = map.get(id);
  if (found) map.delete(id); // the ones used last are the last to go
  found ??= signal<T | undefined>(undefined);
  map.set(id, found);
  if (map.size > KEPT_MAX) map.delete(map.keys().next().value!);
  return found;
}
