/**
 * A job's log: read by cursor, kept as lines.
 *
 * The cursor is the only truth about what was read: pushes over the live line merely say that
 * there is more. One request is under way at a time. What is read goes into a sink: lines for the
 * list here, or the terminal of `terminal.ts`.
 */

import { ApiError, type LogLine, type LogPage } from "./api";

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

/** From which line on (dropped ones counted) a log is of which step; `""` where the grid told none. */
export interface Section {
  step: string;
  from: number;
}

export interface Sink {
  add(line: LogLine, step?: string): void;
  /** A remark of the page's own. */
  remark(text: string): void;
  clear(): void;
  /** When it has room for more; no other page is asked for before. */
  drained?(): Promise<void>;
}

/** What moves the cursor off its line, or turns to another screen. Erasing in a line (`K`) does
 * not: with `\r` before it the list is right. */
const MOVES = /\x1b\[[0-9;]*[ABCDEFHJLMSTdfsu]|\x1b\[\?(?:47|1047|1049)[hl]|\x1b[78DM]/;
const TO_LINE_START = /\x1b\[[01]?G/g;

/** Chunks, which may end anywhere, become lines as a terminal would show them. */
export class LogText implements Sink {
  readonly lines: Line[] = [];
  readonly sections: Section[] = [];
  dropped = 0;
  /** Something in it is drawn with a cursor, which a list of lines can't show. */
  moves = false;
  private open: Line | undefined;

  /** The number that the next line will get. */
  get end(): number {
    return this.dropped + this.lines.length;
  }

  add([text, time, stderr = false]: LogLine, step = ""): void {
    if (this.sections.at(-1)?.step !== step) {
      this.open = undefined;
      this.sections.push({ step, from: this.end });
    }
    if (text.includes("\x1b")) {
      this.moves ||= MOVES.test(text);
      text = text.replace(TO_LINE_START, "\r");
    }
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
    this.lines.length = this.sections.length = 0;
    this.open = undefined;
    this.dropped = 0;
    this.moves = false;
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

function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429;
}

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 5_000;
const ADDED_AT_ONCE = 20_000; // lines: some 10 ms

export class LogReader<S extends Sink = LogText> {
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
    readonly text: S,
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
      if (!this.isStopped && since === this.cursor) await this.take(page, since);
      await this.text.drained?.();
    } catch (error) {
      // What the grid refuses (the job is gone) it will refuse again, until it has something new to tell.
      if (!isRefusal(error)) this.later(() => this.poke(), this.delay);
      this.delay = Math.min(this.delay * 2, RETRY_MS_MAX);
    }
    this.isReading = false;
    if (this.isPoked) this.poke();
  }

  private async take(page: LogPage, since: number): Promise<void> {
    if (page.nextCursor < since) {
      this.isPoked = true; // the grid knows less than we do: it has begun this log anew
      this.text.clear();
      this.cursor = 0;
      return;
    }
    if (page.sliceStart > since) {
      this.text.remark(`${page.sliceStart - since} lines are not kept any more`);
    }
    await this.addAll(page);
    if (this.isStopped) return;
    this.cursor = page.nextCursor;
    this.isFinal = page.isFinal;
    this.expired = page.logsExpired ?? false;
    if (page.data.length && !page.isFinal) this.isPoked = true; // a page may be a part of what is there
    if (page.data.length || page.isFinal) this.changed();
  }

  /** In parts: a long log does not keep the page from answering its reader. */
  private async addAll({ data, sliceStart, steps = [] }: LogPage): Promise<void> {
    let step = -1;
    for (const [at, line] of data.entries()) {
      if (at && at % ADDED_AT_ONCE === 0) {
        this.changed();
        await new Promise((done) => setTimeout(done));
        if (this.isStopped) return;
      }
      while (step + 1 < steps.length && steps[step + 1]![0] <= sliceStart + at) step++;
      this.text.add(line, steps[step]?.[1]);
    }
  }
}
