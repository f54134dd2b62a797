/** The log: its tools, where it began to go wrong, and its steps as a long scroll, or the run in a
 * terminal. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Finder, type Hit } from "../find";
import { firstError } from "../firsterror";
import { hasAnswer, type Run } from "../run";
import { stepsOf, type Told } from "../steps";
import { LogList } from "./loglist";
import { Find, LogTools } from "./logtools";
import { TerminalView } from "./terminal";
import "../log.css";

export function Log({ run }: { run: Run | undefined }) {
  const isTerminal = useSignal(false);
  const wanted = useSignal("");
  const chosen = useSignal(0);
  /** The line to be shown; a new object is a new wish. */
  const wish = useSignal<Hit | undefined>(undefined);

  const told = run && toldBy(run);
  const changes = run?.logged.value;
  const steps = useMemo(() => (told ? stepsOf(told) : []), [run, changes, told?.job]);
  const error = useMemo(() => told && firstError(told), [run, changes, told?.job]);
  const finder = useMemo(() => new Finder(), [run]);
  if (run) finder.update(wanted.value, run.build.text, run.log.text);
  const hits = finder.hits;

  useEffect(() => void (wish.value = undefined), [run]);
  const choose = (at: number) => {
    if (!hits.length) return;
    chosen.value = (at + hits.length) % hits.length;
    wish.value = { ...hits[chosen.value]! };
  };
  // Also when what was looked for comes only now: the log may be on its way.
  useEffect(() => choose(0), [wanted.value, run, hits.length > 0]);
  const show = (line: Hit) => {
    isTerminal.value = false;
    wish.value = { log: line.log, number: line.number };
  };

  const current = wanted.value ? hits[chosen.value] : undefined;
  return (
    <div class="logview">
      <LogTools run={run} steps={steps} isTerminal={isTerminal}>
        <Find wanted={wanted} at={chosen.value} count={hits.length} go={(by) => choose(chosen.value + by)} />
      </LogTools>
      {error && (
        <p class="pinned">
          <strong>First error</strong>
          <code title={error.text}>{error.text}</code>
          <button type="button" class="small" onClick={() => show(error)}>Show in log</button>
        </p>
      )}
      {run?.log.text.moves && !isTerminal.value && (
        <p class="pinned hint">
          <span>This program draws by moving the cursor. A terminal shows it as it was meant.</span>
          <button type="button" class="small" onClick={() => void (isTerminal.value = true)}>Show in a terminal</button>
        </p>
      )}
      {run && isTerminal.value
        ? <TerminalView run={run} />
        : <LogList run={run} steps={steps} pattern={finder.pattern} current={current} wish={wish.value} nothing={nothing(run)} />}
    </div>
  );
}

function toldBy(run: Run): Told {
  return { job: run.job.value, definition: run.definition, build: run.build.text, run: run.log.text };
}

function nothing(run: Run | undefined): string {
  const job = run?.job.value;
  if (!run) return "The log appears here when the job runs.";
  if (run.log.expired) return "The time for which this log was kept is over.";
  if (!job || job.state === "Queued") return "Nothing yet: the job waits.";
  if (job.state === "Running") return "Nothing printed so far.";
  if (hasAnswer(job) && !run.log.isFinal) return "Reading the log…";
  return job.finishedReason === "Error" ? "It did not come to print anything." : "It printed nothing.";
}
