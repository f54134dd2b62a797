/** What differs between two texts, line by line. Pure; its work is bounded. */

export interface DiffLine {
  sign: " " | "-" | "+";
  text: string;
}

/** A stretch of lines that belong together, and how many equal lines were left out before it. */
export interface Hunk {
  skipped: number;
  lines: DiffLine[];
}

export const LINES_MAX = 20_000;
/** Insertions and deletions together; beyond it two texts have little in common. */
export const EDITS_MAX = 600;
const CONTEXT = 3;

/** `undefined`: too long, or too different to be told in lines. */
export function diff(before: string, after: string): DiffLine[] | undefined {
  const [a, b] = [linesOf(before), linesOf(after)];
  if (a.length > LINES_MAX || b.length > LINES_MAX) return undefined;
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const middle = shortest(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  if (!middle) return undefined;
  const same = (text: string): DiffLine => ({ sign: " ", text });
  return [...a.slice(0, head).map(same), ...middle, ...a.slice(a.length - tail).map(same)];
}

function linesOf(text: string): string[] {
  const lines = text.replace(/\r\n/g, "\n").split("\n");
  if (lines[lines.length - 1] === "") lines.pop();
  return lines;
}

/** Myers' way: the furthest that so many edits reach on each diagonal, then back along it. */
function shortest(a: string[], b: string[]): DiffLine[] | undefined {
  const trace: Map<number, number>[] = [];
  const reach = new Map<number, number>([[1, 0]]);
  for (let edits = 0; edits <= Math.min(a.length + b.length, EDITS_MAX); edits++) {
    trace.push(new Map(reach));
    for (let k = -edits; k <= edits; k += 2) {
      let x = isDown(reach, k, edits) ? reach.get(k + 1)! : reach.get(k - 1)! + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      reach.set(k, x);
      if (x >= a.length && x - k >= b.length) return back(trace, a, b);
    }
  }
  return undefined;
}

function isDown(reach: Map<number, number>, k: number, edits: number): boolean {
  return k === -edits || (k !== edits && reach.get(k - 1)! < reach.get(k + 1)!);
}

function back(trace: Map<number, number>[], a: string[], b: string[]): DiffLine[] {
  const found: DiffLine[] = [];
  let [x, y] = [a.length, b.length];
  for (let edits = trace.length - 1; edits >= 0; edits--) {
    const reach = trace[edits]!;
    const k = x - y;
    const from = isDown(reach, k, edits) ? k + 1 : k - 1;
    const [fromX, fromY] = edits === 0 ? [0, 0] : [reach.get(from)!, reach.get(from)! - from];
    while (x > fromX && y > fromY) {
      found.push({ sign: " ", text: a[--x]! });
      y--;
    }
    if (edits === 0) break;
    if (x === fromX) found.push({ sign: "+", text: b[--y]! });
    else found.push({ sign: "-", text: a[--x]! });
  }
  return found.reverse();
}

/** Changes with a few equal lines around them. */
export function hunks(lines: DiffLine[]): Hunk[] {
  const near = new Set<number>();
  lines.forEach((line, at) => {
    if (line.sign === " ") return;
    for (let i = Math.max(0, at - CONTEXT); i <= Math.min(lines.length - 1, at + CONTEXT); i++) near.add(i);
  });
  const found: Hunk[] = [];
  let skipped = 0;
  lines.forEach((line, at) => {
    if (!near.has(at)) {
      skipped++;
      return;
    }
    if (skipped || !found.length) found.push({ skipped, lines: [] });
    skipped = 0;
    found[found.length - 1]!.lines.push(line);
  });
  return found;
}
