/** A queue as it is now: its jobs and workers, kept by the live line. */

import { signal } from "@preact/signals";
import type { Api, Job, Worker } from "./api";
import { Live } from "./live";

const PAINT_MS = 150; // many changes of a busy queue become one redraw

export interface Follower {
  onJob(id: string, job: Job): void;
  onGone(id: string, reason: string): void;
  onLog(id: string, step: string): void;
  /** The line is up, again or for the first time. */
  onUp(): void;
  onRefusal(message: string): void;
}

export class QueueView {
  readonly jobs = new Map<string, Job>();
  /** Counts changes of `jobs`, in steps of `PAINT_MS`. */
  readonly changes = signal(0);
  readonly workers = signal<Worker[] | undefined>(undefined);
  readonly isUp = signal(false);
  /** True once the line was up and is not any more. */
  readonly isBroken = signal(false);
  private readonly live: Live;
  private painting: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly api: Api, private readonly follower: Follower) {
    this.live = new Live(api.socketUrl, {
      onAll: (jobs) => this.replace(jobs),
      onChanged: (jobs, gone) => this.merge(jobs, gone),
      onWorkers: (workers) => void (this.workers.value = workers),
      onLog: (id, step) => follower.onLog(id, step),
      onLink: (isUp) => this.linked(isUp),
      onRefusal: (message) => follower.onRefusal(message),
    }).start();
  }

  /** Forget the job's answer and submit it again: two messages in order, on one line. */
  again(id: string, submission: unknown): boolean {
    const time = Date.now();
    const deleted = { type: "Finished", reason: "Deleted", time, namespace: "*" };
    const queued = { type: "Queued", time, enqueued: submission };
    return (
      this.live.send("StateChange", { state: "Finished", job: id, tag: "", value: deleted }) &&
      this.live.send("StateChange", { state: "Queued", job: id, tag: "", value: queued })
    );
  }

  renew(): void {
    this.live.renew();
  }

  close(): void {
    this.live.close();
    clearTimeout(this.painting);
  }

  private linked(isUp: boolean): void {
    this.isUp.value = isUp;
    this.isBroken.value = !isUp;
    if (isUp) this.follower.onUp();
  }

  private replace(jobs: Record<string, Job>): void {
    this.jobs.clear();
    this.merge(jobs, {});
  }

  private merge(jobs: Record<string, Job>, gone: Record<string, string>): void {
    for (const [id, job] of Object.entries(jobs)) {
      this.jobs.set(id, job);
      this.follower.onJob(id, job);
    }
    for (const [id, reason] of Object.entries(gone)) {
      this.jobs.delete(id);
      this.follower.onGone(id, reason);
    }
    this.painting ??= setTimeout(() => {
      this.painting = undefined;
      this.changes.value++;
    }, PAINT_MS);
  }
}
