/** What the page asks a grid over HTTP. Answers are taken as SPEC 13 writes them. */

import type { Reference } from "./dataref";
import type { Definition } from "./definition";

export type State = "Queued" | "Running" | "Finished" | "Removed";

export interface Job {
  state: State;
  queuedTime: number;
  time: number;
  worker: string;
  namespaces: string[];
  finishedReason?: string;
  attempt?: number;
  startedTime?: number;
  requirements?: { cpus?: number; gpus?: number; memory?: string };
  finished?: { reason: string; time: number; worker?: string; message?: string; result?: Result };
}

export interface Result {
  StatusCode?: number;
  duration?: number;
  isTimedOut?: boolean;
  outputs?: Record<string, Reference & { size?: number }>;
  logs?: LogLine[];
  error?: unknown;
  logsExpired?: boolean;
}

export type LogLine = [text: string, time: number, stderr?: boolean];
export type LogKind = "build" | "run";

export interface LogPage {
  data: LogLine[];
  sliceStart: number;
  nextCursor: number;
  isFinal: boolean;
  logsExpired?: boolean;
  /** Of the build log: from which index on its lines are of which step. */
  steps?: [from: number, step: string][];
}

export interface Worker {
  id: string;
  cpus: number;
  gpus: number;
  memory?: number;
  version: string;
  maxJobDuration: string;
  tags?: string[];
  running?: number;
  draining?: boolean;
  time: number;
}

export interface Explanation {
  state: State;
  summary: string;
  ahead: number;
  waiting: number;
  workersConnected: number;
  workers: { worker: string; could: boolean; whyNot?: string[] }[];
}

export interface Happened {
  time: number;
  event: string;
  worker?: string;
  attempt?: number;
  reason?: string;
  message?: string;
  count?: number;
  waited?: number;
  ran?: number;
  exitCode?: number;
  duration?: number;
}

/** What became of a job. `gone`: it was there, and its time is over. */
export type Standing =
  | { known: true; job: Job }
  | { known: false; gone: boolean };

/** For an answer, to its last byte; also where a dead network closes nothing by itself. */
const ANSWER_MS_MAX = 60_000;

export class ApiError extends Error {
  constructor(message: string, readonly status: number, readonly code?: string) {
    super(message);
  }
}

/** `queue` is undefined for a page that knows only a job: it can read, and nothing else. */
export class Api {
  constructor(readonly base: string, readonly queue?: string) {}

  get queueUrl(): string {
    if (this.queue === undefined) throw new Error("no queue");
    return `${this.base}/q/${encodeURIComponent(this.queue)}`;
  }

  get socketUrl(): string {
    return `${this.queueUrl.replace(/^http/, "ws")}/client?gone=1`;
  }

  jobUrl(id: string): string {
    return this.queue === undefined ? `${this.base}/j/${id}` : `${this.queueUrl}/j/${id}`;
  }

  outputUrl(id: string, name: string): string {
    return `${this.jobUrl(id)}/outputs/${name.split("/").map(encodeURIComponent).join("/")}`;
  }

  async standing(id: string): Promise<Standing> {
    const response = await this.get(`${this.jobUrl(id)}/result`);
    if (response.status === 404 || response.status === 410) {
      return { known: false, gone: response.status === 410 };
    }
    return { known: true, job: await data<Job>(response) };
  }

  async definition(id: string): Promise<Definition | null> {
    return data(await this.get(`${this.jobUrl(id)}/definition.json`));
  }

  /** The jobs that ended last; the live line tells of them for a minute only. */
  async ended(): Promise<Record<string, Job>> {
    return data(await this.get(`${this.queueUrl}/ended.json`));
  }

  async explain(id: string): Promise<Explanation | null> {
    const response = await this.get(`${this.jobUrl(id)}/explain`);
    return response.ok ? data(response) : null;
  }

  async history(id: string): Promise<Happened[]> {
    const response = await this.get(`${this.jobUrl(id)}/history.json`);
    return response.ok ? (await data<{ events: Happened[] }>(response)).events : [];
  }

  async logs(id: string, kind: LogKind, since: number): Promise<LogPage> {
    const response = await this.get(`${this.jobUrl(id)}/${kind}-logs.json?since=${since}`);
    if (!response.ok) throw await failure(response);
    return read<LogPage>(response);
  }

  async submit(submission: unknown): Promise<string> {
    const response = await this.post(this.queueUrl, submission);
    return (await read<{ jobId: string }>(response)).jobId;
  }

  async cancel(id: string, namespace: string): Promise<void> {
    const query = new URLSearchParams({ namespace, message: "stopped on the page" });
    await this.post(`${this.jobUrl(id)}/cancel?${query}`);
  }

  private async get(url: string): Promise<Response> {
    // Asked for as a program, not as a browser that navigates: those are answered with the page.
    return reached(fetch(url, { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS_MAX) }));
  }

  private async post(url: string, body?: unknown): Promise<Response> {
    const headers = { "Content-Type": "application/json" };
    const response = await reached(
      fetch(url, { method: "POST", headers, body: body === undefined ? null : JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MS_MAX) }),
    );
    if (!response.ok) throw await failure(response);
    return response;
  }
}

async function reached<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch {
    throw new ApiError("The grid does not answer. It may be restarting; try again in a moment.", 0);
  }
}

async function data<T>(response: Response): Promise<T> {
  if (!response.ok) throw await failure(response);
  return (await read<{ data: T }>(response)).data;
}

function read<T>(response: Response): Promise<T> {
  return reached(response.json() as Promise<T>);
}

export async function failure(response: Response): Promise<ApiError> {
  try {
    const said = (await response.json()) as { error?: string | { message?: string; code?: string }; message?: string; code?: string };
    const error = typeof said.error === "object" ? said.error : undefined;
    const message = error?.message ?? said.message ?? (typeof said.error === "string" ? said.error : undefined);
    return new ApiError(message ?? `status ${response.status}`, response.status, error?.code ?? said.code);
  } catch {
    return new ApiError(`the grid answered with status ${response.status}`, response.status);
  }
}
