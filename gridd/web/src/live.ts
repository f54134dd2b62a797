/**
 * The live line to a queue: a WebSocket that comes back by itself.
 *
 * It only ever tells what is now. After a break the grid sends everything anew (`JobStates`), and
 * `onLink(true)` asks the owner to look again at what it follows; logs are read by cursors over
 * HTTP (`log.ts`). So nothing is missed and nothing counted twice, whatever was lost on the way.
 */

import type { Job, Worker } from "./api";

export interface Listener {
  /** The whole truth: a job that is not here is not listed any more. */
  onAll(jobs: Record<string, Job>): void;
  onChanged(jobs: Record<string, Job>, gone: Record<string, string>): void;
  onWorkers(workers: Worker[]): void;
  /** There is more to read of this job's log. */
  onLog(job: string, step: string): void;
  onLink(isUp: boolean): void;
  onRefusal(message: string): void;
}

/** What is used of a WebSocket. */
export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  onerror: (() => void) | null;
  send(text: string): void;
  close(): void;
}

export interface Clock {
  set(call: () => void, ms: number): number;
  clear(timer: number): void;
}

const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 5_000;
export const PING_MS = 5_000;
export const SILENCE_MS = 10_000; // without a PONG the line is given up

export class Live {
  private socket: Socket | undefined;
  private timer: number | undefined;
  private delay = RETRY_MS_MIN;
  private isOpen = false;
  private isClosed = false;

  constructor(
    private readonly url: string,
    private readonly listener: Listener,
    private readonly connect: (url: string) => Socket = (at) => new WebSocket(at) as unknown as Socket,
    private readonly clock: Clock = {
      set: (call, ms) => setTimeout(call, ms) as unknown as number,
      clear: (timer) => clearTimeout(timer),
    },
  ) {}

  start(): this {
    if (this.isClosed) return this;
    const socket = (this.socket = this.connect(this.url));
    socket.onopen = () => {
      this.isOpen = true;
      this.delay = RETRY_MS_MIN;
      this.listener.onLink(true);
      this.ping();
    };
    socket.onmessage = (event) => this.read(event.data);
    socket.onclose = () => this.broke(socket);
    socket.onerror = () => undefined; // `close` follows
    return this;
  }

  /** False: the line is down and nothing was sent. */
  send(type: string, payload: unknown): boolean {
    if (!this.isOpen) return false;
    this.socket?.send(JSON.stringify({ type, payload }));
    return true;
  }

  close(): void {
    this.isClosed = true;
    this.wait(undefined);
    if (this.socket) {
      this.socket.onclose = this.socket.onmessage = this.socket.onopen = null;
      this.socket.close();
    }
  }

  /** The network came back: what is left of the line may be dead, and its silence would be long. */
  renew(): void {
    const socket = this.socket;
    if (this.isClosed) return;
    this.delay = RETRY_MS_MIN;
    if (!socket) return this.wait(() => this.start(), 0);
    socket.onclose = socket.onmessage = socket.onopen = null;
    socket.close();
    this.broke(socket);
  }

  private broke(socket: Socket): void {
    if (socket !== this.socket || this.isClosed) return;
    this.socket = undefined;
    if (this.isOpen) this.listener.onLink(false);
    this.isOpen = false;
    this.wait(() => this.start(), this.delay);
    this.delay = Math.min(this.delay * 2, RETRY_MS_MAX);
  }

  private ping(): void {
    const socket = this.socket;
    socket?.send("PING");
    this.wait(() => {
      // A dead network closes nothing by itself; do not wait for its farewell.
      if (!socket) return;
      socket.onclose = socket.onmessage = null;
      socket.close();
      this.broke(socket);
    }, SILENCE_MS);
  }

  private wait(call: (() => void) | undefined, ms = 0): void {
    if (this.timer !== undefined) this.clock.clear(this.timer);
    this.timer = call && this.clock.set(call, ms);
  }

  private read(text: unknown): void {
    if (typeof text !== "string") return;
    if (text === "PONG") {
      this.wait(() => this.ping(), PING_MS);
      return;
    }
    let message: { type?: string; payload?: any };
    try {
      message = (JSON.parse(text) as typeof message | null) ?? {};
    } catch {
      return; // not ours
    }
    const payload = message.payload ?? {};
    switch (message.type) {
      case "JobStates":
        this.listener.onAll(payload.state?.jobs ?? {});
        break;
      case "JobStateUpdates":
        this.listener.onChanged(payload.state?.jobs ?? {}, payload.gone ?? {});
        break;
      case "Workers":
        this.listener.onWorkers(payload.workers ?? []);
        break;
      case "JobStatusPayload":
        this.listener.onLog(payload.jobId, payload.step ?? "");
        break;
      case "Error":
        this.listener.onRefusal(payload.message ?? payload.error?.message ?? "the grid refused a message");
    }
  }
}
