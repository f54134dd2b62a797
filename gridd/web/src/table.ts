/** Tables out of text and JSON, and which of their columns are numbers. Pure. */

import { isObject } from "./hash";

export interface Table {
  head: string[];
  rows: string[][];
}

/** Quoted cells may hold separators and line ends; `""` is a quote. */
export function cells(text: string, separator: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (isQuoted) {
      if (char !== '"') cell += char;
      else if (text[at + 1] === '"') cell += text[++at];
      else isQuoted = false;
    } else if (char === '"' && !cell) isQuoted = true;
    else if (char === separator) {
      row.push(cell);
      cell = "";
    } else if (char === "\n") {
      rows.push([...row, cell.replace(/\r$/, "")]);
      [row, cell] = [[], ""];
    } else cell += char;
  }
  if (cell || row.length) rows.push([...row, cell]);
  return rows;
}

/** `isCut`: the text ends somewhere, so that its last row is not whole and is left out. A first row
 * of numbers alone is no head; some write `;` where others write `,`. */
export function tableOfText(text: string, end: string, isCut: boolean): Table {
  const body = text.replace(/^\uFEFF/, "");
  const firstLine = body.slice(0, body.indexOf("\n") >>> 0);
  const separator = end === "tsv" ? "\t" : !firstLine.includes(",") && firstLine.includes(";") ? ";" : ",";
  const all = cells(body, separator).filter((row) => row.length > 1 || row[0] !== "");
  if (isCut) all.pop();
  const first = all[0] ?? [];
  const width = all.reduce((most, row) => Math.max(most, row.length), 0);
  const hasHead = !first.every((cell) => cell !== "" && isNumber(cell));
  const head = Array.from({ length: width }, (_, at) => (hasHead && first[at]) || `column ${at + 1}`);
  return { head, rows: hasHead ? all.slice(1) : all };
}

/** Three usual shapes: a list of objects, an object of lists, a list of lists. `undefined`: none. */
export function tableOfJson(value: unknown): Table | undefined {
  if (Array.isArray(value) && value.length) {
    if (value.every(isFlat)) {
      const head = [...new Set(value.slice(0, 1000).flatMap((row) => Object.keys(row)))];
      return { head, rows: value.map((row) => head.map((name) => written(row[name]))) };
    }
    if (value.every((row) => Array.isArray(row) && row.every(isScalar))) {
      const lists = value as unknown[][];
      const width = lists.reduce((most, row) => Math.max(most, row.length), 0);
      const head = Array.from({ length: width }, (_, at) => `column ${at + 1}`);
      return { head, rows: lists.map((row) => row.map(written)) };
    }
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const columns = Object.entries(value);
  const length = Array.isArray(columns[0]?.[1]) ? (columns[0][1] as unknown[]).length : 0;
  const isColumns = length > 0 && columns.every(([, list]) => Array.isArray(list) && list.length === length && list.every(isScalar));
  if (!isColumns) return undefined;
  const lists = columns.map(([, list]) => list as unknown[]);
  return { head: columns.map(([name]) => name), rows: Array.from({ length }, (_, at) => lists.map((list) => written(list[at]))) };
}

function isScalar(value: unknown): boolean {
  return value === null || typeof value !== "object";
}

function isFlat(row: unknown): row is Record<string, unknown> {
  return isObject(row) && Object.values(row).every(isScalar);
}

function written(value: unknown): string {
  return value === null || value === undefined ? "" : String(value);
}

const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const NO_NUMBER = /^(|nan|na|n\/a|null|none|-|[-+]?inf(inity)?)$/i;

function isNumber(cell: string): boolean {
  return NUMBER.test(cell.trim());
}

/** `NaN` for a cell that holds none: a gap. */
export function numberOf(cell: string | undefined): number {
  const text = (cell ?? "").trim();
  return NUMBER.test(text) ? Number(text) : NaN;
}

/** Columns with numbers and gaps and nothing else. */
export function numericColumns({ head, rows }: Table): boolean[] {
  return head.map((_, at) => {
    let numbers = 0;
    for (const row of rows) {
      const cell = (row[at] ?? "").trim();
      if (NUMBER.test(cell)) numbers++;
      else if (!NO_NUMBER.test(cell)) return false;
    }
    return numbers > 0;
  });
}
