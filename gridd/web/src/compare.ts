/** Two runs against each other: what was asked for, what came of it, which files, where the logs
 * part. What it reads is bounded; beyond the bounds files are told apart by hash alone. */

import type { Api, Job, LogPage } from "./api";
import { hashIn, union } from "./changes";
import type { Reference } from "./dataref";
import { hashOf } from "./jobid";
import { LogText } from "./log";
import { beginningOf, FILE_BYTES_MAX } from "./partial";

/** Of each log. */
const LOG_LINES_MAX = 50_000;
const LOG_PAGES_MAX = 200;

export interface FileChange {
  name: string;
  verdict: "same" | "changed" | "only before" | "only after" | "can't be told";
}

type Outputs = Record<string, Reference>;

export function outputsOf(job: Job | undefined): Outputs {
  return job?.finished?.result?.outputs ?? {};
}

/** `fetched`: the hash of what has to be fetched to be known, by side; `undefined`: too large. */
export async function outputChanges(before: Outputs, after: Outputs, fetched: (side: 0 | 1, name: string) => Promise<string | undefined>): Promise<FileChange[]> {
  const found: FileChange[] = [];
  for (const name of union(before, after).sort()) {
    const [a, b] = [before[name], after[name]];
    if (!a || !b) {
      found.push({ name, verdict: a ? "only before" : "only after" });
      continue;
    }
    const one = hashIn(a) ?? (await fetched(0, name));
    const other = hashIn(b) ?? (await fetched(1, name));
    found.push({ name, verdict: one === undefined || other === undefined ? "can't be told" : one === other ? "same" : "changed" });
  }
  return found;
}

export async function fetchedHash(api: Api, id: string, name: string): Promise<string | undefined> {
  try {
    const { bytes, isCut } = await beginningOf(api.outputUrl(id, name), FILE_BYTES_MAX);
    return isCut ? undefined : hashOf(bytes);
  } catch {
    return undefined;
  }
}

export interface LogsCompared {
  /** Counted from 1; undefined: as far as they were read, they are the same. */
  line: number | undefined;
  before: string | undefined;
  after: string | undefined;
  /** Lines that were read of the shorter one. */
  read: number;
  isWhole: boolean;
}

type Pages = (since: number) => Promise<LogPage>;

/** Reads both until they part; the end of one is where they part too. */
export async function firstDifference(before: Pages, after: Pages): Promise<LogsCompared> {
  const [a, b] = [new Lines(before), new Lines(after)];
  for (let line = 0; line < LOG_LINES_MAX; line++) {
    const [one, other] = [await a.at(line), await b.at(line)];
    if (one === undefined && other === undefined) return { line: undefined, before: undefined, after: undefined, read: line, isWhole: a.isWhole && b.isWhole };
    if (one !== other) return { line: line + 1, before: one, after: other, read: line, isWhole: true };
  }
  return { line: undefined, before: undefined, after: undefined, read: LOG_LINES_MAX, isWhole: false };
}

class Lines {
  isWhole = false;
  private readonly text = new LogText();
  private cursor = 0;
  private pages = 0;

  constructor(private readonly page: Pages) {}

  /** The last line of what was read may go on; it counts when all is read. */
  async at(line: number): Promise<string | undefined> {
    while (!this.isWhole && this.text.lines.length <= line + 1 && this.pages++ < LOG_PAGES_MAX) {
      const found = await this.page(this.cursor);
      for (const chunk of found.data) this.text.add(chunk);
      this.isWhole = found.isFinal || (!found.data.length && found.nextCursor <= this.cursor);
      this.cursor = Math.max(this.cursor, found.nextCursor);
    }
    return this.text.lines[line]?.text;
  }
}
