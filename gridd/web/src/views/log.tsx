/** The log as a long scroll of which only what is seen exists: 100,000 lines cost as much as 50. */

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { pieces, plain } from "../ansi";
import type { Line } from "../log";
import type { Run } from "../run";
import { now } from "../store";
import { clock, counted, duration } from "../words";
import { CopyButton } from "./parts";

const ROW = 19; // pixels of a line; the style sheet says the same
const SPARE = 20; // lines beyond the edges
const NEAR_END = 40; // pixels: so close to the end counts as following it

interface LineOf {
  line: Line;
  number: number;
}

interface Step {
  step: "build" | "run";
  count: number;
}

type Row = LineOf | Step;

export function Log({ run }: { run: Run | undefined }) {
  const box = useRef<HTMLDivElement>(null);
  const follows = useSignal(true);
  const top = useSignal(0);
  const height = useSignal(600);
  const hidesBuild = useSignal<boolean | undefined>(undefined);
  const search = useSignal("");
  const hit = useSignal(0);

  const changes = run?.logged.value;
  const hidden = hidesBuild.value ?? (run ? run.log.text.lines.length > 0 : false);
  const rows = useMemo(() => (run ? rowsOf(run, hidden) : []), [run, changes, hidden]);
  const hits = useMemo(() => found(rows, search.value), [rows, search.value]);

  useEffect(() => {
    follows.value = true;
    hidesBuild.value = undefined;
  }, [run]);
  useLayoutEffect(() => {
    if (box.current && follows.value) box.current.scrollTop = box.current.scrollHeight;
  });
  useEffect(() => {
    const observer = new ResizeObserver(() => void (height.value = box.current?.clientHeight ?? 600));
    if (box.current) observer.observe(box.current);
    return () => observer.disconnect();
  }, []);

  const scrolled = () => {
    const it = box.current!;
    top.value = it.scrollTop;
    follows.value = it.scrollHeight - it.scrollTop - it.clientHeight < NEAR_END;
  };
  useEffect(() => {
    hit.value = 0;
    go(0);
  }, [search.value]);
  const go = (step: number) => {
    if (!hits.length) return;
    hit.value = (hit.value + step + hits.length) % hits.length;
    follows.value = false;
    box.current!.scrollTop = Math.max(0, hits[hit.value]! * ROW - height.value / 2);
  };

  const first = Math.max(0, Math.floor(top.value / ROW) - SPARE);
  const shown = rows.slice(first, first + Math.ceil(height.value / ROW) + 2 * SPARE);
  const current = hits[hit.value];
  return (
    <div class="logview">
      <div class="tools">
        <input
          type="search" placeholder="Find in the log" aria-label="Find in the log" value={search.value}
          onInput={(event) => void (search.value = event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && go(event.shiftKey ? -1 : 1)}
        />
        {search.value && <small aria-live="polite">{hits.length ? `${hit.value + 1} of ${hits.length}` : "not found"}</small>}
        <span class="gap" />
        {!follows.value && <button type="button" class="small" onClick={() => void (follows.value = true)}>Follow</button>}
        <CopyButton text={() => textOf(run)} />
        <button type="button" class="small" onClick={() => save(textOf(run), `${run?.id.slice(0, 8) ?? "job"}.log`)} disabled={!rows.length}>Download</button>
      </div>
      <div class="log" ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-label="Log" aria-live="off">
        {rows.length === 0 && <p class="quiet">{nothing(run)}</p>}
        <div class="all" style={{ height: `${rows.length * ROW}px` }}>
          <div class="seen" style={{ transform: `translateY(${first * ROW}px)` }}>
            {shown.map((row, at) => "step" in row
              ? <StepRow key={first + at} run={run!} row={row} isHidden={hidden} toggle={() => { follows.value = false; hidesBuild.value = !hidden; }} />
              : <LineRow key={first + at} row={row} isHit={first + at === current} mark={search.value} />)}
          </div>
        </div>
      </div>
    </div>
  );
}

function StepRow({ run, row, isHidden, toggle }: { run: Run; row: Step; isHidden: boolean; toggle: () => void }) {
  if (row.step === "run") return <div class="line step">Run{took(run)}</div>;
  return <button type="button" class="line step" aria-expanded={!isHidden} onClick={toggle}>{isHidden ? "▸" : "▾"} Preparing · {counted(row.count, "line")}</button>;
}

function took(run: Run): string {
  const job = run.job.value;
  if (!job?.startedTime) return "";
  const ms = job.finished?.result?.duration;
  if (ms !== undefined) return ` · ${duration(ms)}`;
  return job.state === "Running" ? ` · ${clock(now.value - job.startedTime)}` : "";
}

function LineRow({ row, isHit, mark }: { row: LineOf; isHit: boolean; mark: string }) {
  const { line } = row;
  const kind = ["line", line.stderr && "err", line.remark && "remark", isHit && "hit"].filter(Boolean).join(" ");
  const matches = mark && plain(line.text).toLowerCase().includes(mark.toLowerCase());
  return (
    <div class={matches ? `${kind} match` : kind} title={line.time ? new Date(line.time).toLocaleTimeString() : undefined}>
      <i>{row.number || ""}</i>
      {pieces(line.text.replace(/\r$/, "")).map((piece, at) => (piece.style ? <span key={at} class={piece.style}>{piece.text}</span> : piece.text))}
    </div>
  );
}

function rowsOf(run: Run, hidesBuild: boolean): Row[] {
  const rows: Row[] = [];
  const add = (lines: Line[], skipped: number) => lines.forEach((line, at) => rows.push({ line, number: line.remark ? 0 : skipped + at + 1 }));
  const [build, log] = [run.build.text, run.log.text];
  if (build.lines.length) {
    rows.push({ step: "build", count: build.lines.length + build.dropped });
    if (!hidesBuild) add(build.lines, build.dropped);
    if (log.lines.length) rows.push({ step: "run", count: log.lines.length });
  }
  if (log.dropped) rows.push({ line: { text: `${log.dropped} older lines are not shown`, stderr: false, time: 0, remark: true }, number: 0 });
  add(log.lines, log.dropped);
  return rows;
}

function found(rows: Row[], text: string): number[] {
  if (!text) return [];
  const wanted = text.toLowerCase();
  const hits: number[] = [];
  rows.forEach((row, at) => {
    if ("line" in row && plain(row.line.text).toLowerCase().includes(wanted)) hits.push(at);
  });
  return hits;
}

function nothing(run: Run | undefined): string {
  const job = run?.job.value;
  if (!run) return "The log appears here when the job runs.";
  if (run.log.expired) return "The time for which this log was kept is over.";
  if (!job || job.state === "Queued") return "Nothing yet: the job waits.";
  if (job.state === "Running") return "Nothing printed so far.";
  return "It printed nothing.";
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
