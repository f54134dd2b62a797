/** Files on their way from the reader's disk to the grid, to become inputs of the job. */

import { computed, signal } from "@preact/signals";
import type { Reference } from "./dataref";
import { change, draft } from "./edit";
import { api } from "./store";
import { hashOfFile, upload } from "./upload";

export interface Going {
  name: string;
  part: number;
  what: "reading" | "sending";
  error?: string;
}

export const going = signal<Going[]>([]);
/** Names of inputs that stand in the place of others since files were added last. */
export const replaced = signal<string[]>([]);
/** A job that is sent now would run without them. */
export const isAdding = computed(() => going.value.some((it) => !it.error));

/** One after another. Of two with one name that come together, both are kept; a file that comes
 * later takes the place of its namesake: it is its newer version. */
export async function addFiles(list: Iterable<File>): Promise<void> {
  const named = new Map<string, File>();
  for (const file of list) named.set(freeName(file.webkitRelativePath || file.name, named), file);
  replaced.value = [];
  for (const name of named.keys()) report(name, { what: "reading", part: 0, error: undefined });
  for (const [name, file] of named) await add(name, file);
}

function freeName(wanted: string, taken: Map<string, File>): string {
  const at = wanted.lastIndexOf("/") + 1;
  let name = wanted;
  for (let n = 2; taken.has(name); n++) name = `${wanted.slice(0, at)}${n}-${wanted.slice(at)}`;
  return name;
}

function report(name: string, news: Partial<Going>): void {
  const before = going.value.find((it) => it.name === name);
  const next: Going = { name, part: 0, what: "reading", ...before, ...news };
  going.value = before ? going.value.map((it) => (it === before ? next : it)) : [...going.value, next];
}

export function dismiss(name: string): void {
  going.value = going.value.filter((it) => it.name !== name);
}

async function add(name: string, file: File): Promise<void> {
  const base = api.value.base;
  const seen = (bytes: number) => report(name, { part: bytes / (file.size || 1) });
  try {
    const hash = await hashOfFile(file, seen);
    report(name, { what: "sending", part: 0 });
    await upload(base, hash, file, seen);
    const reference: Reference = { type: "url", value: `${base}/f/${hash}`, hash };
    const before = draft.value.inputs ?? {};
    if (name in before && before[name]?.value !== reference.value) replaced.value = [...replaced.value, name];
    change({ inputs: { ...before, [name]: reference } });
    dismiss(name);
  } catch (error) {
    report(name, { error: (error as Error).message });
  }
}

/** Beside the place for them, too: a browser would leave the page to show the file. */
export function takeDrops(isWanted: () => boolean): () => void {
  const over = (event: DragEvent) => {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  };
  const drop = (event: DragEvent) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    if (isWanted()) void addFiles([...event.dataTransfer.files]);
  };
  addEventListener("dragover", over);
  addEventListener("drop", drop);
  return () => {
    removeEventListener("dragover", over);
    removeEventListener("drop", drop);
  };
}
