/** One run that the page follows: its state, its two logs, and why it waits. */

import { signal } from "@preact/signals";
import type { Api, Explanation, Happened, Job, LogPage } from "./api";
import type { Definition } from "./definition";
import { LogReader, LogText, type Sink } from "./log";

const EXPLAIN_MS = 2_000; // between two looks at why it waits
const POLL_MS = 1_000; // between two looks of a page without a live line

export class Run {
  readonly job = signal<Job | undefined>(undefined);
  readonly why = signal<Explanation | null>(null);
  /** Of the last line that came live: what is being done before the program runs. */
  readonly step = signal("");
  readonly history = signal<Happened[]>([]);
  /** Counts changes of the logs. */
  readonly logged = signal(0);
  readonly build: LogReader;
  readonly log: LogReader;
  private readonly others = new Set<LogReader<Sink>>();
  private looking: ReturnType<typeof setTimeout> | undefined;
  private explaining: ReturnType<typeof setTimeout> | undefined;
  private turns = 0;
  private isStopped = false;

  constructor(
    readonly api: Api, readonly id: string, readonly definition: Definition | undefined, readonly isLive: boolean,
  ) {
    const changed = () => void this.logged.value++;
    this.build = new LogReader((since) => api.logs(id, "build", since).then(asLines), changed, new LogText());
    this.log = new LogReader((since) => api.logs(id, "run", since), changed, new LogText());
  }

  get isOver(): boolean {
    return this.job.value?.state === "Finished";
  }

  /** A newer view of the job, from wherever it came. */
  update(job: Job): void {
    if (this.isStopped) return;
    const before = this.job.value;
    if (before && isOlder(job, before)) return; // an answer that was overtaken on its way
    // A view that was made just before its program began must not take that back.
    if (before?.startedTime && before.attempt === job.attempt && !job.startedTime) job = { ...job, startedTime: before.startedTime };
    if (before?.finished && job.state === "Finished" && !job.finished) job = { ...job, finished: before.finished };
    this.job.value = job;
    if (job.state !== before?.state || job.attempt !== before?.attempt) this.turned(job);
    this.pokeLogs();
  }

  /** It ended without an answer (cancelled, replaced, deleted). */
  ended(reason: string): void {
    const job = this.job.value;
    if (!job || job.state === "Finished") return;
    this.update({ ...job, state: "Finished", finishedReason: reason });
  }

  pokeLogs(): void {
    this.build.poke();
    this.log.poke();
    for (const reader of this.others) reader.poke();
  }

  /** The run's log once more, from its beginning and as it was printed, until the answer is called. */
  replay(into: Sink): () => void {
    const reader = new LogReader((since) => this.api.logs(this.id, "run", since), () => undefined, into);
    this.others.add(reader);
    reader.poke();
    return () => {
      reader.stop();
      this.others.delete(reader);
    };
  }

  /** Look again at everything: after a break, or when there is no live line. */
  async refresh(): Promise<void> {
    let hasFailed = false;
    try {
      const standing = await this.api.standing(this.id);
      if (standing.known) this.update(standing.job);
      else if (this.job.value && this.job.value.state !== "Finished") this.ended("Deleted");
    } catch {
      hasFailed = true; // the grid is away; the next look is due below, or when the line is up again
    }
    const job = this.job.value;
    const misses = hasFailed && job?.state === "Finished" && !job.finished && hasAnswer(job);
    clearTimeout(this.looking); // two that were under way go on as one
    if (!this.isStopped && (misses || (!this.isLive && !this.isOver))) this.looking = setTimeout(() => void this.refresh(), POLL_MS);
  }

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.looking);
    clearTimeout(this.explaining);
    for (const reader of [this.build, this.log, ...this.others]) reader.stop();
  }

  private turned(job: Job): void {
    this.why.value = null;
    const turn = ++this.turns;
    clearTimeout(this.explaining);
    if (this.api.queue !== undefined) {
      // An answer that comes late says less than the one that overtook it.
      void this.api.history(this.id).then((it) => turn === this.turns && (this.history.value = it), () => undefined);
      if (job.state === "Queued") void this.explain(turn);
    }
    if (job.state === "Finished" && !job.finished && hasAnswer(job)) void this.refresh();
  }

  private async explain(turn: number): Promise<void> {
    const why = await this.api.explain(this.id).catch(() => null);
    if (this.isStopped || turn !== this.turns) return;
    if (why) this.why.value = why;
    this.explaining = setTimeout(() => void this.explain(turn), EXPLAIN_MS);
  }
}

/** What pulls and builds print are lines, though their ends may be missing. */
function asLines(page: LogPage): LogPage {
  for (const line of page.data) if (!line[0].endsWith("\n")) line[0] += "\n";
  return page;
}

function isOlder(job: Job, than: Job): boolean {
  return job.time < than.time || (job.time === than.time && than.state === "Finished" && job.state !== "Finished");
}

export function hasAnswer(job: Job): boolean {
  return ["Success", "Error", "TimedOut"].includes(job.finishedReason ?? "");
}
