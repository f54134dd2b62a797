/** What differs between two definitions, item by item: for the marks on the page, for the list of
 * runs, and for two runs that are compared. Pure. */

import { heldBytes, isReference, type Reference } from "./dataref";
import type { Definition } from "./definition";
import { stableJson } from "./hash";
import { hashOf } from "./jobid";

export interface Change {
  /** The member of the definition, and the name within it. */
  member: string;
  name: string;
  /** For people. */
  title: string;
  before: unknown;
  after: unknown;
  /** Both sides are files, or missing. */
  isFile: boolean;
}

const TITLES: Record<string, string> = {
  workdir: "working directory", shmSize: "shared memory", maxDuration: "time limit", tags: "worker tags",
};
const GROUPS: Record<string, string> = {
  build: "build", requirements: "resource", env: "variable", configFiles: "file", inputs: "input",
};
/** Not of the job, but of who submitted it and how. */
const IGNORED = new Set(["v", "debug", "control"]);

export function changesBetween(before: Definition, after: Definition): Change[] {
  const found: Change[] = [];
  const add = (member: string, name: string, title: string, a: unknown, b: unknown) => {
    if (stableJson(compared(a)) === stableJson(compared(b))) return;
    found.push({ member, name, title, before: a, after: b, isFile: member === "configFiles" || member === "inputs" });
  };
  for (const member of union(before, after)) {
    if (!(member in GROUPS) && !IGNORED.has(member)) add(member, "", TITLES[member] ?? member, before[member], after[member]);
  }
  for (const [member, title] of Object.entries(GROUPS)) {
    const [a, b] = [before[member] ?? {}, after[member] ?? {}] as [Record<string, unknown>, Record<string, unknown>];
    for (const name of union(a, b)) add(member, name, `${title} ${name}`, a[name], b[name]);
  }
  return found;
}

/** A side that is no file, as a text. */
export function shownValue(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function union(a: object, b: object): string[] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])];
}

/** A file is what is in it, wherever it lies. */
function compared(value: unknown): unknown {
  if (!isReference(value)) return value ?? null;
  return hashIn(value) ?? [value.type, value.value];
}

/** The sha256 of a reference's bytes, where it tells or holds them. */
export function hashIn(reference: Reference): string | undefined {
  if (reference.hash && /^[0-9a-f]{64}$/.test(reference.hash)) return reference.hash;
  const named = typeof reference.value === "string" && /\/f\/([0-9a-f]{64})$/.exec(reference.value)?.[1];
  if (named && reference.type === "url") return named;
  const held = heldBytes(reference);
  return held && hashOf(held);
}
