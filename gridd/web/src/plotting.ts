/** From a table's columns to what is drawn: numbers, gaps, and few enough points. Pure. */

import { numberOf, type Table } from "./table";

/** Points of one curve; more than a screen has columns, and quick to draw. */
export const POINTS_MAX = 4_000;
export const CURVES_MAX = 8;

export interface Drawn {
  x: number[];
  /** By curve; `null` is a gap. */
  ys: (number | null)[][];
  /** x goes one way, so that lines between the points mean something. */
  isOrdered: boolean;
  /** Rows that have an x. */
  rows: number;
  isThinned: boolean;
}

/** `x` is a column, or -1 for the row's number. */
export function drawn(table: Table, x: number, ys: number[], pointsMax: number = POINTS_MAX): Drawn {
  const value = (row: number) => (x < 0 ? row + 1 : numberOf(table.rows[row]![x]));
  let kept = table.rows.map((_, row) => row).filter((row) => !Number.isNaN(value(row)));
  const rows = kept.length;
  const isOrdered = kept.every((row, at) => at === 0 || value(row) >= value(kept[at - 1]!));
  if (!isOrdered) kept.sort((a, b) => value(a) - value(b));
  const isThinned = rows > pointsMax;
  if (isThinned) kept = thinned(kept, table, ys, pointsMax);
  const curves = ys.map((column) => kept.map((row) => gapped(numberOf(table.rows[row]![column]))));
  return { x: kept.map(value), ys: curves, isOrdered, rows, isThinned };
}

function gapped(number: number): number | null {
  return Number.isNaN(number) ? null : number;
}

/** Of each stretch of rows the lowest and the highest of every curve: peaks stay. */
function thinned(rows: number[], table: Table, ys: number[], pointsMax: number): number[] {
  const stretches = Math.max(1, Math.floor(pointsMax / 2 / Math.max(1, ys.length)));
  const length = rows.length / stretches;
  const kept: number[] = [];
  for (let stretch = 0; stretch < stretches; stretch++) {
    const part = rows.slice(Math.floor(stretch * length), Math.floor((stretch + 1) * length));
    const chosen = new Set<number>();
    for (const column of ys) {
      let [low, high] = [-1, -1];
      part.forEach((row, at) => {
        const number = numberOf(table.rows[row]![column]);
        if (Number.isNaN(number)) return;
        if (low < 0 || number < numberOf(table.rows[part[low]!]![column])) low = at;
        if (high < 0 || number > numberOf(table.rows[part[high]!]![column])) high = at;
      });
      if (low >= 0) chosen.add(low).add(high);
      else if (part.length) chosen.add(0); // nothing but gaps: one of them stays a gap
    }
    for (const at of [...chosen].sort((a, b) => a - b)) kept.push(part[at]!);
  }
  return kept;
}

/** What most people would draw: everything over the first column if that goes one way, else over
 * the number of the row. */
export function firstChoice(table: Table, numeric: boolean[]): { x: number; ys: number[] } {
  const columns = numeric.flatMap((is, at) => (is ? [at] : []));
  const [first, ...others] = columns;
  if (first === undefined) return { x: -1, ys: [] };
  const numbers = table.rows.map((row) => numberOf(row[first]));
  const isAxis = others.length > 0 && numbers.every((it, at) => at === 0 || it > numbers[at - 1]!);
  return isAxis ? { x: first, ys: others.slice(0, 3) } : { x: -1, ys: columns.slice(0, 3) };
}
