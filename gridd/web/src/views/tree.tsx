/** Files as a tree: arrow keys move, Enter and a click choose, left and right fold. */

import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { kindOf } from "../kinds";
import { rowsOf, step, type Row } from "../tree";
import { counted, number, size } from "../words";

const ROWS_AT_ONCE = 300;

interface Props {
  names: string[];
  chosen: string | undefined;
  choose: (name: string) => void;
  sizeOf: (name: string) => number | undefined;
  hrefOf: (name: string) => string;
}

export function Tree({ names, chosen, choose, sizeOf, hrefOf }: Props) {
  const closed = useSignal<ReadonlySet<string>>(new Set());
  const focused = useSignal<string | undefined>(undefined);
  const limit = useSignal(ROWS_AT_ONCE);
  const root = useRef<HTMLUListElement>(null);
  const all = useMemo(() => rowsOf(names, closed.value), [names, closed.value]);
  const rows = all.slice(0, limit.value);
  const known = (path: string | undefined) => (rows.some((row) => row.path === path) ? path : undefined);
  const stop = known(focused.value) ?? known(chosen) ?? rows[0]?.path; // where Tab comes in

  const fold = (path: string, isClosed: boolean) => {
    const next = new Set(closed.value);
    if (isClosed) next.add(path);
    else next.delete(path);
    closed.value = next;
  };
  const use = (row: Row) => {
    focused.value = row.path;
    if (row.isFolder) fold(row.path, !closed.value.has(row.path));
    else choose(row.path);
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target instanceof HTMLAnchorElement) return;
    const row = rows.find((it) => it.path === stop);
    if ((event.key === "Enter" || event.key === " ") && row) {
      event.preventDefault();
      use(row);
      return;
    }
    const found = step(rows, stop, event.key);
    if (!found) return;
    event.preventDefault();
    if (found.open) fold(found.open, false);
    if (found.close) fold(found.close, true);
    if (found.to !== undefined) {
      focused.value = found.to;
      const next = rows.findIndex((it) => it.path === found.to);
      root.current?.querySelectorAll<HTMLElement>("[role=treeitem]")[next]?.focus();
      if (!rows[next]!.isFolder) choose(found.to);
    }
  };
  return (
    <>
      <ul class="filetree" role="tree" aria-label="Output files" ref={root} onKeyDown={pressed}>
        {rows.map((row) => (
          <li
            key={row.path} role="treeitem" class={row.path === chosen ? "chosen" : ""} style={{ paddingLeft: `${8 + row.depth * 18}px` }}
            aria-level={row.depth + 1} aria-selected={row.path === chosen}
            {...(row.isFolder ? { "aria-expanded": !closed.value.has(row.path) } : {})}
            tabIndex={row.path === stop ? 0 : -1} onClick={() => use(row)} onFocus={() => void (focused.value = row.path)}
          >
            <span class="mark" aria-hidden="true">{row.isFolder ? (closed.value.has(row.path) ? "▸" : "▾") : ""}</span>
            <span class="name" title={row.path}>{row.name}</span>
            {row.isFolder
              ? <small>{counted(row.files, "file")}</small>
              : (
                <>
                  <small class="kind">{kindOf(row.path).label}</small>
                  <small class="size">{sizeText(sizeOf(row.path))}</small>
                  <a class="get" href={hrefOf(row.path)} download={row.name} tabIndex={-1} aria-label={`Download ${row.path}`} title="Download" onClick={(event) => event.stopPropagation()}>↓</a>
                </>
              )}
          </li>
        ))}
      </ul>
      {all.length > rows.length && <p class="pad"><button type="button" class="small" onClick={() => void (limit.value += 1_000)}>{number(all.length - rows.length)} more</button></p>}
    </>
  );
}

function sizeText(bytes: number | undefined): string {
  return bytes === undefined ? "" : size(bytes);
}
