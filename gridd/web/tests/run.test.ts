import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { ApiError, type Api, type Explanation, type Happened, type Job, type Standing } from "../src/api";
import { Frame } from "../src/frame";
import { sendOutputs } from "../src/outputs";
import { Run } from "../src/run";

const job = (more: Partial<Job>): Job => ({ state: "Queued", queuedTime: 0, time: 0, worker: "", namespaces: ["_"], ...more });
const settled = async () => {
  for (let n = 0; n < 10; n++) await Promise.resolve();
};

/** A grid that answers as it is told to. */
class Grid {
  readonly base = "http://g";
  queue: string | undefined = "q";
  asked = { explain: 0, standing: 0 };
  standings: (() => Promise<Standing>)[] = [];
  histories: ((events: Happened[]) => void)[] = [];
  logs = () => new Promise<never>(() => undefined);
  history = () => new Promise<Happened[]>((done) => void this.histories.push(done));
  outputUrl = (id: string, name: string) => `http://g/${id}/${name}`;
  explain = async (): Promise<Explanation> => {
    this.asked.explain++;
    return { state: "Queued", summary: `look ${this.asked.explain}`, ahead: 0, waiting: 1, workersConnected: 1, workers: [] };
  };
  standing = () => {
    this.asked.standing++;
    return this.standings.shift()!();
  };
  run(isLive = true): Run {
    return new Run(this as unknown as Api, "id", undefined, isLive);
  }
}

test("why it waits is asked by one at a time, also after a break, and no more when it runs", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const grid = new Grid();
  const run = grid.run();
  run.update(job({}));
  await settled();
  grid.standings.push(async () => ({ known: true, job: job({}) }));
  await run.refresh(); // the line was away
  t.mock.timers.tick(2_000);
  await settled();
  assert.deepEqual([grid.asked.explain, run.why.value?.summary], [2, "look 2"]);
  run.update(job({ time: 1, attempt: 1 })); // its worker was lost: it begins anew, and the one before ends
  await settled();
  t.mock.timers.tick(2_000);
  await settled();
  assert.equal(grid.asked.explain, 4);
  run.update(job({ state: "Running", time: 2 }));
  t.mock.timers.tick(10_000);
  await settled();
  assert.deepEqual([grid.asked.explain, run.why.value], [4, null]);
});

test("an answer that could not be had is asked for again, and once", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const grid = new Grid();
  const away = () => Promise.reject(new ApiError("away", 0));
  const answer = job({ state: "Finished", time: 5, finishedReason: "Success", finished: { reason: "Success", time: 5, result: { StatusCode: 3 } } });
  grid.standings = [away, away, async () => ({ known: true, job: answer })];
  const run = grid.run();
  run.update(job({ state: "Finished", time: 5, finishedReason: "Success" }));
  for (let n = 0; n < 5; n++) {
    await settled();
    t.mock.timers.tick(1_000);
  }
  assert.deepEqual([grid.asked.standing, run.job.value?.finished?.result?.StatusCode], [3, 3]);
  run.stop();
});

test("a history that comes late says nothing", async () => {
  const grid = new Grid();
  const run = grid.run();
  run.update(job({ state: "Running", time: 1 }));
  run.update(job({ state: "Finished", time: 2, finishedReason: "Cancelled" }));
  grid.histories[1]!([{ time: 1, event: "submitted" }, { time: 2, event: "finished" }]);
  grid.histories[0]!([{ time: 1, event: "submitted" }]);
  await settled();
  assert.equal(run.history.value.length, 2);
});

test("outputs of a run that was overtaken do not reach the page around", async () => {
  const said: { method: string; params: Record<string, unknown> }[] = [];
  const parent = { postMessage: (message: never) => void said.push(message) };
  const frame = new Frame(parent, "me", () => undefined, () => 0 as never);
  frame.receive({ source: parent, data: { method: "SetupIframeServerResponse", params: { iframeId: "me", parentId: "p" } } });
  const open: ((response: Response) => void)[] = [];
  const fetched = mock.method(globalThis, "fetch", () => new Promise<Response>((done) => void open.push(done)));
  const finished = (value: string) => {
    const run = new Grid().run();
    run.job.value = job({ state: "Finished", finished: { reason: "Success", time: 1, result: { outputs: { a: { type: "url", value } } } } });
    return run;
  };
  const slow = sendOutputs(frame, finished("http://g/old"), true, false);
  const next = sendOutputs(frame, finished("http://g/new"), true, false);
  open[1]!(new Response("", { status: 503 })); // where it lies is better than nothing
  await next;
  open[0]!(new Response("old"));
  await slow;
  fetched.mock.restore();
  const sent = said.filter(({ method, params }) => method === "OutputsUpdate" && Object.keys(params).length).map(({ params }) => params);
  assert.deepEqual(sent, [{ a: { type: "url", value: "http://g/new" } }]);
});
