/** The line where it began to go wrong: most people scroll back for it. A guess, by what programs
 * usually write. Pure. */

import { plain } from "./ansi";
import type { Hit } from "./find";
import type { Line, LogText } from "./log";
import { begun, type Told } from "./steps";

export interface FirstError extends Hit {
  text: string;
}

const TELLS = /error|exception|traceback|fatal|panic|segmentation fault|abort|denied|no such|not found|cannot|can't|failed|killed/i;
const HARMLESS = /warn|deprecat|\b0 (?:errors|failed)/i;
const TEXT_MAX = 300; // characters
const TRACEBACK_LINES_MAX = 200;

export function firstError(told: Told): FirstError | undefined {
  const job = told.job;
  const hasFailed = job?.finishedReason === "Error" || job?.finishedReason === "TimedOut" || Boolean(job?.finished?.result?.StatusCode);
  if (!hasFailed) return undefined;
  return begun(told) ? inLog("run", told.run) : inLog("build", told.build);
}

function inLog(log: FirstError["log"], text: LogText): FirstError | undefined {
  const tells = (line: Line) => TELLS.test(line.text) && !HARMLESS.test(line.text) && !line.remark;
  const says = (line: Line) => line.stderr && line.text.trim() !== "" && !HARMLESS.test(line.text);
  for (const is of [(line: Line) => line.stderr && tells(line), says, tells]) {
    const at = text.lines.findIndex(is);
    if (at >= 0) return { log, number: text.dropped + at, text: wordsAt(text.lines, at) };
  }
  return undefined;
}

/** Of a traceback, which begins with where it was, what it was. */
function wordsAt(lines: Line[], at: number): string {
  const shown = lines.slice(at, at + TRACEBACK_LINES_MAX).map((line) => plain(line.text));
  const begins = /^Traceback \(/.test(shown[0]!) ? shown.findIndex((line, i) => i > 0 && /^\S/.test(line)) : 0;
  return shown[Math.max(0, begins)]!.trim().slice(0, TEXT_MAX);
}
