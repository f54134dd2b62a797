/** A table: as wide as its contents, numbers under the right end of their heads. */

import { useSignal } from "@preact/signals";
import type { Table } from "../table";
import { counted, number } from "../words";

const ROWS_AT_ONCE = 200;
const ROWS_MAX = 5_000; // elements; more makes a browser slow
const COLUMNS_MAX = 100;

export function TableView({ table, numeric }: { table: Table; numeric: boolean[] }) {
  const shown = useSignal(ROWS_AT_ONCE);
  const head = table.head.slice(0, COLUMNS_MAX);
  const rows = table.rows.slice(0, shown.value);
  const isWhole = rows.length === table.rows.length;
  const more = Math.min(table.rows.length, ROWS_MAX, shown.value * 5);
  return (
    <div class="tableview">
      <p class="quiet">
        {isWhole ? counted(table.rows.length, "row") : `First ${number(rows.length)} of ${counted(table.rows.length, "row")}`} · {head.length < table.head.length ? `first ${head.length} of ` : ""}{counted(table.head.length, "column")}
        {more > rows.length && <button type="button" class="small" onClick={() => void (shown.value = more)}>Show {number(more)}</button>}
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table">
        <table class="data">
          <thead><tr>{head.map((name, at) => <th key={at} scope="col" class={numeric[at] ? "number" : ""}>{name}</th>)}</tr></thead>
          <tbody>{rows.map((row, at) => <tr key={at}>{head.map((_, i) => <td key={i} class={numeric[i] ? "number" : ""}>{row[i] ?? ""}</td>)}</tr>)}</tbody>
        </table>
      </div>
    </div>
  );
}
