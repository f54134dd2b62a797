/** Finds a text in logs that grow: what was looked through is not looked through again. */

import { plain } from "./ansi";
import type { LogText } from "./log";
import type { LogName } from "./steps";

export interface Hit {
  log: LogName;
  /** The line's, dropped ones counted. */
  number: number;
}

/** Letters match in either case; all else as it stands. */
export function patternOf(wanted: string): RegExp | undefined {
  return wanted ? new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "giu") : undefined;
}

export class Finder {
  pattern: RegExp | undefined;
  hits: Hit[] = [];
  private wanted = "";
  private readonly seen = { build: 0, run: 0 };
  private readonly found: Record<LogName, number[]> = { build: [], run: [] };

  /** True: there are other hits than before. */
  update(wanted: string, build: LogText, run: LogText): boolean {
    const isOther = wanted !== this.wanted;
    if (isOther) {
      this.wanted = wanted;
      this.pattern = patternOf(wanted);
      this.forget("build");
      this.forget("run");
    }
    const isNew = [isOther, this.look("build", build), this.look("run", run)].some(Boolean);
    if (isNew) {
      this.hits = (["build", "run"] as const).flatMap((log) => this.found[log].map((number) => ({ log, number })));
    }
    return isNew;
  }

  private look(log: LogName, text: LogText): boolean {
    if (!this.pattern || text.end === 0) return this.forget(log);
    const found = this.found[log];
    const before = found.length;
    if (text.end < this.seen[log]) this.forget(log); // the log has begun anew
    if (found.length && found[0]! < text.dropped) found.splice(0, found.findLastIndex((number) => number < text.dropped) + 1);
    // The line that was the last one may have got longer.
    const from = Math.max(this.seen[log] - 1, text.dropped);
    while (found.length && found.at(-1)! >= from) found.pop();
    const fresh = found.length;
    for (let number = from; number < text.end; number++) {
      if (this.matches(text.lines[number - text.dropped]!.text)) found.push(number);
    }
    this.seen[log] = text.end;
    return found.length !== before || found.length !== fresh;
  }

  private matches(text: string): boolean {
    const pattern = this.pattern!;
    pattern.lastIndex = 0;
    return pattern.test(text.includes("\x1b") ? plain(text) : text);
  }

  private forget(log: LogName): boolean {
    const had = this.found[log].length > 0;
    this.found[log].length = this.seen[log] = 0;
    return had;
  }
}
