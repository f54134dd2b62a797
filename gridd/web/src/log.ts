/**
 * A job's log: read by cursor, kept as lines.
 *
 * The cursor is the only truth about what was read: pushes over the live line merely say that
 * there is more. One request is under way at a time.
 */

import type { LogLine, LogPage } from "./api";

export interface Line {
  /** Without its end. `\r` before the end is a progress bar that will be overwritten. */
  text: string;
  stderr: boolean;
  time: number;
  /** A remark of the page's, not of the program's. */
  remark?: boolean;
}

/** Lines that a page keeps; beyond them the oldest go. */
export const LINES_MAX = 200_000;
const DROPPED_AT_ONCE = 20_000;

/** Chunks, which may end anywhere, become lines as a terminal would show them. */
export class LogText {
  readonly lines: Line[] = [];
  dropped = 0;
  private open: Line | undefined;

  add([text, time, stderr = false]: LogLine): void {
    const pieces = text.replace(/\r\n/g, "\n").split("\n");
    const rest = pieces.pop()!;
    for (const piece of pieces) {
      this.extend(piece, time, stderr);
      this.open = undefined;
    }
    if (rest) this.extend(rest, time, stderr);
  }

  remark(text: string): void {
    this.open = undefined;
    this.push({ text, stderr: false, time: 0, remark: true });
  }

  clear(): void {
    this.lines.length = 0;
    this.open = undefined;
    this.dropped = 0;
  }

  private extend(piece: string, time: number, stderr: boolean): void {
    if (this.open && this.open.stderr === stderr) {
      this.open.text = overwritten(this.open.text + piece);
      return;
    }
    this.open = { text: overwritten(piece), stderr, time };
    this.push(this.open);
  }

  private push(line: Line): void {
    this.lines.push(line);
    if (this.lines.length > LINES_MAX) {
      this.lines.splice(0, DROPPED_AT_ONCE);
      this.dropped += DROPPED_AT_ONCE;
    }
  }
}

/** What `\r` leaves: the text behind the last one that something follows. */
function overwritten(text: string): string {
  const body = text.replace(/\r+$/, "");
  const shown = body.slice(body.lastIndexOf("\r") + 1);
  return body.length < text.length ? shown + "\r" : shown;
}

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 5_000;

export class LogReader {
  readonly text = new LogText();
  isFinal = false;
  expired = false;
  private cursor = 0;
  private isReading = false;
  private isPoked = false;
  private isStopped = false;
  private delay = RETRY_MS_MIN;

  constructor(
    private readonly page: (since: number) => Promise<LogPage>,
    private readonly changed: () => void,
    private readonly later: (call: () => void, ms: number) => unknown = (call, ms) => setTimeout(call, ms),
  ) {}

  /** There may be more. */
  poke(): void {
    if (this.isStopped || this.isFinal) return;
    if (this.isReading) this.isPoked = true;
    else void this.read();
  }

  stop(): void {
    this.isStopped = true;
  }

  private async read(): Promise<void> {
    this.isReading = true;
    this.isPoked = false;
    const since = this.cursor;
    try {
      const page = await this.page(since);
      this.delay = RETRY_MS_MIN;
      if (!this.isStopped && since === this.cursor) this.take(page, since);
    } catch {
      this.later(() => this.poke(), this.delay);
      this.delay = Math.min(this.delay * 2, RETRY_MS_MAX);
    }
    this.isReading = false;
    if (this.isPoked) this.poke();
  }

  private take(page: LogPage, since: number): void {
    if (page.nextCursor < since) {
      this.isPoked = true; // the grid knows less than we do: it has begun this log anew
      this.text.clear();
      this.cursor = 0;
      return;
    }
    if (page.sliceStart > since) {
      this.text.remark(`${page.sliceStart - since} lines are not kept any more`);
    }
    for (const line of page.data) this.text.add(line);
    this.cursor = page.nextCursor;
    this.isFinal = page.isFinal;
    this.expired = page.logsExpired ?? false;
    if (page.data.length && !page.isFinal) this.isPoked = true; // a page may be a part of what is there
    if (page.data.length || page.isFinal) this.changed();
  }
}
