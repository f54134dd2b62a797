/** What can be done with a log: find, wrap, times, a terminal, copy, download. */

import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { plain } from "../ansi";
import { TIMES, times, wraps, type Times } from "../choices";
import type { Run } from "../run";
import type { Step } from "../steps";
import { number, short } from "../words";
import { CopyButton } from "./parts";

interface ToolsProps {
  run: Run | undefined;
  steps: Step[];
  isTerminal: Signal<boolean>;
  children: ComponentChildren;
}

export function LogTools({ run, steps, isTerminal, children }: ToolsProps) {
  const isList = !isTerminal.value;
  return (
    <div class="tools" role="group" aria-label="The log">
      {isList && children}
      <span class="gap" />
      {isList && (
        <>
          <Toggle is={wraps} label="Wrap" />
          <select aria-label="Times" value={times.value} onChange={(event) => void (times.value = event.currentTarget.value as Times)}>
            {TIMES.map((it) => <option key={it} value={it}>{it}</option>)}
          </select>
        </>
      )}
      <Toggle is={isTerminal} label="Terminal" disabled={!run} />
      <CopyButton text={() => textOf(run)} />
      <button type="button" class="small" disabled={!steps.length} onClick={() => save(textOf(run), `${run ? short(run.id) : "job"}.log`)}>Download</button>
    </div>
  );
}

function Toggle({ is, label, disabled = false }: { is: Signal<boolean>; label: string; disabled?: boolean }) {
  return <button type="button" class="small" aria-pressed={is.value} disabled={disabled} onClick={() => void (is.value = !is.value)}>{label}</button>;
}

interface FindProps {
  wanted: Signal<string>;
  at: number;
  count: number;
  go: (by: number) => void;
}

/** Enter and Shift+Enter go on and back, Escape ends it. */
export function Find({ wanted, at, count, go }: FindProps) {
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") wanted.value = "";
    else return;
    event.preventDefault();
  };
  return (
    <>
      <input
        type="search" placeholder="Find in the log" aria-label="Find in the log" value={wanted.value}
        onInput={(event) => void (wanted.value = event.currentTarget.value)} onKeyDown={pressed}
      />
      {wanted.value && (
        <>
          <small aria-live="polite">{count ? `${number(at + 1)} of ${number(count)}` : "not found"}</small>
          <button type="button" class="small" aria-label="Previous hit" disabled={!count} onClick={() => go(-1)}>↑</button>
          <button type="button" class="small" aria-label="Next hit" disabled={!count} onClick={() => go(1)}>↓</button>
        </>
      )}
    </>
  );
}

function textOf(run: Run | undefined): string {
  if (!run) return "";
  const lines = [...run.build.text.lines, ...run.log.text.lines];
  return lines.map((line) => plain(line.text)).join("\n") + (lines.length ? "\n" : "");
}

export function save(content: string | Blob, name: string): void {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
