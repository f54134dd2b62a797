/** How somebody likes logs to be shown, kept in this browser; where storage is refused, for as long
 * as the page lives. */

import { effect, signal } from "@preact/signals";
import { clock, two } from "./words";

export const TIMES = ["No times", "Time of day", "Since start"] as const;
export type Times = (typeof TIMES)[number];

const KEY = "gridd-log";

export const wraps = signal(false);
export const times = signal<Times>("No times");

try {
  const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") as { wraps?: unknown; times?: unknown };
  wraps.value = kept.wraps === true;
  times.value = TIMES.find((it) => it === kept.times) ?? "No times";
} catch {
  // nothing is kept here
}

effect(() => {
  const text = JSON.stringify({ wraps: wraps.value, times: times.value });
  try {
    localStorage.setItem(KEY, text);
  } catch {
    // then only this page knows
  }
});

/** `time` in ms since the epoch, 0 if unknown; `begun` likewise, of its step. */
export function stamp(time: number, begun: number, how: Times): string {
  if (!time || how === "No times") return "";
  if (how === "Time of day") {
    const at = new Date(time);
    return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${thousandths(at.getMilliseconds())}`;
  }
  const after = Math.max(0, time - begun);
  return `${clock(after)}.${thousandths(after % 1000)}`;
}

function thousandths(ms: number): string {
  return String(Math.floor(ms)).padStart(3, "0");
}
