/** What differs between what stands on the page and what ran last, item by item. Pure. */

import type { Definition } from "./definition";
import { stableJson } from "./hash";

export interface Change {
  /** The member of the definition, and the name within it. */
  member: string;
  name: string;
  /** For people. */
  title: string;
  before: string;
  now: string;
}

const TITLES: Record<string, string> = {
  image: "Image", command: "Command", entrypoint: "Entrypoint", workdir: "Working directory", shmSize: "Shared memory",
  maxDuration: "Time limit", tags: "Worker tags",
};
const GROUPS: Record<string, string> = {
  build: "Build", requirements: "Resources", env: "Variable", configFiles: "File", inputs: "Input",
};

export function changesBetween(now: Definition, before: Definition): Change[] {
  const found: Change[] = [];
  const add = (member: string, name: string, title: string, a: unknown, b: unknown) => {
    if (shown(a) !== shown(b)) found.push({ member, name, title, before: shown(b), now: shown(a) });
  };
  for (const [member, title] of Object.entries(TITLES)) add(member, "", title, now[member], before[member]);
  for (const [member, title] of Object.entries(GROUPS)) {
    const [a, b] = [now[member] ?? {}, before[member] ?? {}] as Record<string, unknown>[];
    for (const name of new Set([...Object.keys(b!), ...Object.keys(a!)])) add(member, name, `${title} ${name}`, a![name], b![name]);
  }
  return found;
}

/** References as what they hold, else as where it lies; everything else as it is written. */
function shown(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  if (typeof value === "object" && "value" in value && Object.keys(value).every((key) => ["value", "type", "hash"].includes(key))) return shown(value.value);
  return stableJson(value);
}

export interface Line {
  sign: " " | "-" | "+";
  text: string;
}

export const LINES_MAX = 200;

/** The lines that differ, between what is the same at both ends; one line around them is kept. */
export function lineChanges(before: string, now: string): Line[] {
  const [a, b] = [linesOf(before), linesOf(now)];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const as = (sign: Line["sign"], lines: string[]) => lines.map((text) => ({ sign, text }));
  const lines = [
    ...as(" ", a.slice(Math.max(0, start - 1), start)),
    ...as("-", a.slice(start, a.length - end)),
    ...as("+", b.slice(start, b.length - end)),
    ...as(" ", a.slice(a.length - end, a.length - end + 1)),
  ];
  const left = lines.length - LINES_MAX;
  return left > 0 ? [...lines.slice(0, LINES_MAX), { sign: " ", text: `… ${left} more lines` }] : lines;
}

function linesOf(text: string): string[] {
  return text === "" ? [] : text.replace(/\n$/, "").split("\n");
}
