/** A row of the log: the heading of a step, or a line. */

import { stamp, times } from "../choices";
import type { Line } from "../log";
import { spans } from "../spans";
import type { Step } from "../steps";
import { now } from "../store";
import { clock, counted, duration, number } from "../words";

const SHAPES = { running: "▶", done: "✓", failed: "!", stopped: "■" };
const TONES = { running: "busy", done: "good", failed: "bad", stopped: "idle" };

interface HeadingProps {
  step: Step;
  isOpen: boolean;
  toggle: () => void;
  /** A second one on the page, for the eye: the other is read out and reached by keys. */
  isCopy?: boolean;
}

export function Heading({ step, isOpen, toggle, isCopy = false }: HeadingProps) {
  const count = step.to - step.from + step.missing;
  const parts = [step.word, took(step), counted(count, "line"), step.missing && `the first ${number(step.missing)} are not shown`];
  const heading = (
    <button type="button" aria-expanded={isOpen} tabIndex={isCopy ? -1 : 0} onClick={toggle}>
      <span aria-hidden="true">{isOpen ? "▾" : "▸"}</span>
      <span class="mark" aria-hidden="true">{SHAPES[step.state]}</span>
      <strong>{step.title}</strong>
      <small>{parts.filter(Boolean).join(" · ")}</small>
    </button>
  );
  const kind = `step ${TONES[step.state]}`;
  return isCopy ? <div class={kind} aria-hidden="true">{heading}</div> : <h3 class={kind}>{heading}</h3>;
}

function took(step: Step): string {
  if (step.took !== undefined) return duration(step.took);
  return step.state === "running" && step.begun ? clock(now.value - step.begun) : "";
}

interface LineProps {
  line: Line;
  number: number;
  begun: number;
  isHit: boolean;
  isMarked: boolean;
  pattern: RegExp | undefined;
}

export function LineRow({ line, number, begun, isHit, isMarked, pattern }: LineProps) {
  const kind = ["line", line.stderr && "err", line.remark && "remark", isHit && "hit", isMarked && "marked"].filter(Boolean).join(" ");
  return (
    <div class={kind}>
      <i>{line.remark ? "" : number}</i>
      {times.value !== "No times" && <time>{stamp(line.time, begun, times.value)}</time>}
      <span>
        {spans(line.text.replace(/\r$/, ""), pattern).map((it, at) => {
          if (it.href) return <a key={at} class={it.style} href={it.href} target="_blank" rel="noopener noreferrer">{it.isHit ? <mark>{it.text}</mark> : it.text}</a>;
          if (it.isHit) return <mark key={at} class={it.style}>{it.text}</mark>;
          return it.style ? <span key={at} class={it.style}>{it.text}</span> : it.text;
        })}
      </span>
    </div>
  );
}
