/** Runs that were started on this page, kept in this browser. A convenience: where storage is
 * refused (private windows, some frames) the list lives as long as the page. */

import { signal } from "@preact/signals";
import type { Prepared } from "./definition";
import { sentence } from "./words";

export interface Remembered {
  id: string;
  queue: string;
  time: number;
  title: string;
}

const KEY = "gridd-runs";
const KEPT_MAX = 50;

export const remembered = signal<Remembered[]>(read());

function read(): Remembered[] {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]") as Remembered[];
    return Array.isArray(kept) ? kept.filter((it) => typeof it?.id === "string") : [];
  } catch {
    return [];
  }
}

export function remember(queue: string, what: Prepared): void {
  const { where, what: command } = sentence(what.definition);
  const entry = { id: what.id, queue, time: Date.now(), title: `${where}: ${command}`.slice(0, 200) };
  const others = read().filter((it) => it.id !== entry.id || it.queue !== queue);
  remembered.value = [entry, ...others].slice(0, KEPT_MAX);
  try {
    localStorage.setItem(KEY, JSON.stringify(remembered.value));
  } catch {
    // then only this page knows
  }
}
