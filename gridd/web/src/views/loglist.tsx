/**
 * Steps and lines as a long scroll of which only what is seen exists: 100,000 lines cost as much
 * as 50.
 *
 * Who scrolls up stays there, whatever comes; who is at the end follows it. What we scroll
 * ourselves says nothing about what the reader wants, so it is told apart (`ours`).
 */

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { times, wraps } from "../choices";
import type { Hit } from "../find";
import { Layout } from "../layout";
import type { Run } from "../run";
import type { Step } from "../steps";
import { Heading, LineRow } from "./logrow";

const SPARE = 20; // rows beyond the edges
const NEAR_END = 40; // pixels: so close to the end counts as being there
const COLUMNS_MIN = 10;

interface Props {
  run: Run | undefined;
  steps: Step[];
  pattern: RegExp | undefined;
  current: Hit | undefined;
  wish: Hit | undefined;
  nothing: string;
}

export function LogList({ run, steps, pattern, current, wish, nothing }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useRef<HTMLDivElement>(null);
  const ours = useRef(-1);
  const last = useRef(0);
  const follows = useSignal(true);
  const top = useSignal(0);
  const size = useSignal({ height: 600, width: 800, character: 7.5 });
  const redraw = useSignal(0);
  const marked = useSignal<Hit | undefined>(undefined);

  void redraw.value;
  const layout = useMemo(() => new Layout(), [run]);
  const columns = wraps.value ? columnsIn(size.value.width, size.value.character) : Infinity;
  const anchor = useRef<{ columns: number; row: number; into: number }>({ columns, row: 0, into: 0 });
  layout.update(steps, columns);
  const { heights } = layout;

  const scrollTo = (pixel: number) => {
    const it = box.current;
    if (!it) return;
    it.scrollTop = pixel;
    ours.current = last.current = top.value = it.scrollTop;
  };
  const show = (line: Hit) => {
    const row = layout.reveal(line.log, line.number);
    redraw.value++;
    follows.value = false;
    marked.value = line;
    if (seen.current) seen.current.parentElement!.style.height = `${heights.total}px`; // or there is no room to go there yet
    scrollTo(Math.max(0, heights.offset(row) - size.value.height / 2));
  };
  const toggle = (step: Step) => {
    layout.toggle(step);
    redraw.value++;
    follows.value = false;
    const begins = heights.offset(layout.heading(step));
    if (begins < top.value) scrollTo(begins);
  };

  useEffect(() => {
    follows.value = true;
    marked.value = undefined;
  }, [run]);
  useEffect(() => void (wish && show(wish)), [wish]);
  useEffect(() => {
    const probe = box.current!.querySelector(".probe")!;
    const measure = () => {
      const it = box.current;
      if (!it) return;
      size.value = { height: it.clientHeight, width: it.clientWidth, character: probe.getBoundingClientRect().width / 100 || 7.5 };
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);

  const first = Math.max(0, heights.at(top.value) - SPARE);
  const end = Math.min(layout.count, heights.at(top.value + size.value.height) + SPARE);
  useLayoutEffect(() => {
    const it = box.current!;
    if (anchor.current.columns !== columns && !follows.value) {
      scrollTo(heights.offset(anchor.current.row) + anchor.current.into); // the line at the top stays there
    }
    if (columns !== Infinity) correct();
    if (follows.value && it.scrollHeight - it.scrollTop - it.clientHeight > 1) scrollTo(it.scrollHeight);
    const row = heights.at(top.value); // asking the element would have it laid out once more
    anchor.current = { columns, row, into: top.value - heights.offset(row) };
  });

  /** Rows that are drawn tell how high they are; what is in sight keeps its place. */
  const correct = () => {
    const upTo = heights.at(top.value);
    let above = 0;
    let changed = false;
    for (const [at, element] of [...seen.current!.children].entries()) {
      const more = layout.measured(first + at, (element as HTMLElement).offsetHeight);
      if (more) changed = true;
      if (first + at < upTo) above += more;
    }
    if (above && !follows.value) scrollTo(box.current!.scrollTop + above);
    if (changed) redraw.value++;
  };

  const scrolled = () => {
    const it = box.current!;
    top.value = it.scrollTop;
    if (it.scrollTop !== ours.current) {
      if (it.scrollTop < last.current) follows.value = false;
      else if (it.scrollHeight - it.scrollTop - it.clientHeight < NEAR_END) follows.value = true;
    }
    last.current = it.scrollTop;
    ours.current = -1;
  };

  const rows = Array.from({ length: Math.max(0, end - first) }, (_, at) => first + at);
  const stuck = layout.count ? layout.row(heights.at(top.value)) : undefined;
  const isStuck = stuck && stuck.at >= 0;
  const isOf = (hit: Hit | undefined, step: Step, at: number) => hit?.log === step.log && hit.number === at + step.dropped;
  const hasMore = !follows.value && heights.total > size.value.height;
  return (
    <div class="logbox">
      <div
        class={wraps.value ? "log wraps" : "log"} ref={box} onScroll={scrolled} onWheel={(event) => event.deltaY < 0 && (follows.value = false)}
        tabIndex={0} role="log" aria-label="Log" aria-live="off"
      >
        <span class="probe" aria-hidden="true">{"0".repeat(100)}</span>
        {isStuck && <div class="stuck"><Heading step={stuck.step} isOpen={true} toggle={() => toggle(stuck.step)} isCopy={layout.heading(stuck.step) >= first} /></div>}
        {layout.count === 0 && <p class="quiet">{nothing}</p>}
        <div class="all" style={{ height: `${heights.total}px` }}>
          <div class="seen" ref={seen} style={{ transform: `translateY(${heights.offset(first)}px)` }}>
            {rows.map((number) => {
              const { step, at } = layout.row(number);
              if (at < 0) return <Heading key={number} step={step} isOpen={layout.isOpen(step)} toggle={() => toggle(step)} />;
              return (
                <LineRow
                  key={number} line={step.lines[at]!} number={at - step.from + step.missing + 1} begun={step.begun} pattern={pattern}
                  isHit={isOf(current, step, at)} isMarked={isOf(marked.value, step, at)}
                />
              );
            })}
          </div>
        </div>
      </div>
      {hasMore && <button type="button" class="small follow" onClick={() => void (follows.value = true)}>↓ {run?.job.value?.state === "Running" ? "Follow" : "To the end"}</button>}
    </div>
  );
}

/** How many characters fit beside the margins, which the style sheet sets. */
function columnsIn(width: number, character: number): number {
  const margin = 54 + 16 + (times.value === "No times" ? 0 : 96);
  return Math.max(COLUMNS_MIN, Math.floor((width - margin) / character));
}

