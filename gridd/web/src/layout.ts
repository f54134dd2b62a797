/**
 * Steps as rows one below the other, each with its height: a heading for each step, and its lines
 * while it is open. Rows have numbers and do not exist; a view asks for those that it shows.
 *
 * Heights of wrapped lines are reckoned as a terminal breaks them, after so many characters, and
 * put right by the view for those that it drew (`measured`).
 */

import { plain } from "./ansi";
import { Heights } from "./heights";
import type { Line } from "./log";
import type { LogName, Step } from "./steps";

export const ROW = 19; // pixels of a line; the style sheet says the same
export const HEADING = 28; // and of a heading
const TAB = 8;

export interface Row {
  step: Step;
  /** Its place in `step.lines`; -1 is the heading. */
  at: number;
}

interface Shape {
  key: string;
  from: number;
  to: number;
  dropped: number;
  isOpen: boolean;
}

export class Layout {
  steps: Step[] = [];
  readonly heights = new Heights();
  private shapes: Shape[] = [];
  private starts: number[] = []; // the row of each heading
  private readonly byHand = new Map<string, boolean>();
  private columns = Infinity;

  get count(): number {
    return this.heights.count;
  }

  /** `columns`: characters in a row; Infinity: lines are not wrapped. */
  update(steps: Step[], columns: number): void {
    const shapes = steps.map((it) => ({ key: it.key, from: it.from, to: it.to, dropped: it.dropped, isOpen: this.isOpen(it) }));
    const before = this.shapes;
    const grows = columns === this.columns && shapes.length === before.length && shapes.every((it, at) => isAs(it, before[at]!, at === shapes.length - 1));
    if (grows && steps === this.steps) return; // what was measured is still so
    const old = before.at(-1);
    [this.steps, this.shapes, this.columns] = [steps, shapes, columns];
    if (grows && old) this.grow(old);
    else if (!grows || steps.length) this.build();
  }

  isOpen(step: Step): boolean {
    return this.byHand.get(step.key) ?? step.isOpen;
  }

  toggle(step: Step): void {
    this.byHand.set(step.key, !this.isOpen(step));
    this.update(this.steps, this.columns);
  }

  row(number: number): Row {
    let at = this.starts.length - 1;
    while (at > 0 && this.starts[at]! > number) at--;
    const step = this.steps[at]!;
    const within = number - this.starts[at]! - 1;
    return { step, at: within < 0 ? -1 : step.from + within };
  }

  heading(step: Step): number {
    return this.starts[this.steps.indexOf(step)] ?? 0;
  }

  /** The row of a line of a log, by its number there (dropped ones counted); its step is opened. */
  reveal(log: LogName, number: number): number {
    const at = this.steps.findIndex((it) => it.log === log && number - it.dropped >= it.from && number - it.dropped < it.to);
    const step = this.steps[at];
    if (!step) return 0;
    if (!this.isOpen(step)) this.toggle(step);
    return this.starts[at]! + 1 + number - step.dropped - step.from;
  }

  /** What a row's height is in truth. Answers by how much it was wrong. */
  measured(number: number, height: number): number {
    const more = height - this.heights.get(number);
    if (more) this.heights.set(number, height);
    return more;
  }

  private build(): void {
    this.heights.clear();
    this.starts = [];
    this.steps.forEach((step, at) => {
      this.starts.push(this.heights.count);
      this.heights.push(HEADING);
      if (this.shapes[at]!.isOpen) this.push(step, step.from);
    });
  }

  private grow(old: Shape): void {
    const step = this.steps.at(-1)!;
    if (!old.isOpen) return;
    // The line that was the last one may have got longer.
    if (old.to > old.from) this.heights.set(this.heights.count - 1, this.heightOf(step.lines[old.to - 1]!));
    this.push(step, old.to);
  }

  private push(step: Step, from: number): void {
    for (let at = from; at < step.to; at++) this.heights.push(this.heightOf(step.lines[at]!));
  }

  private heightOf(line: Line): number {
    if (this.columns === Infinity) return ROW;
    return ROW * Math.max(1, Math.ceil(width(line.text) / this.columns));
  }
}

function isAs(now: Shape, before: Shape, isLast: boolean): boolean {
  const isLong = isLast ? now.to >= before.to : now.to === before.to;
  return now.key === before.key && now.from === before.from && now.dropped === before.dropped && now.isOpen === before.isOpen && isLong;
}

/** In characters. */
function width(text: string): number {
  const shown = text.includes("\x1b") || text.endsWith("\r") ? plain(text) : text;
  if (!shown.includes("\t")) return shown.length;
  const [first, ...others] = shown.split("\t");
  return others.reduce((columns, part) => columns + TAB - (columns % TAB) + part.length, first!.length);
}
