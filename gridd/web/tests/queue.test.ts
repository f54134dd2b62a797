import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job } from "../src/api";
import { ASKED_MAX, Details, KEPT_MAX } from "../src/details";
import { bytesOf, ofHad, ownersOf, rowsOf, stateOf, timeOf, useOf } from "../src/queuerows";
import { workerName } from "../src/words";

const job = (more: Partial<Job>): Job => ({ state: "Queued", queuedTime: 0, time: 0, worker: "", namespaces: ["_"], ...more });

test("what runs, what waits in its order, what ended", () => {
  const jobs = new Map<string, Job>([
    ["old", job({ state: "Finished", time: 1 })], ["new", job({ state: "Finished", time: 9 })],
    ["second", job({ queuedTime: 5 })], ["first", job({ queuedTime: 3 })], ["runs", job({ state: "Running" })],
  ]);
  const { rows, counts } = rowsOf(jobs, "all");
  assert.deepEqual(rows.map(({ id, place }) => [id, place]), [["runs", 0], ["first", 1], ["second", 2], ["new", 0], ["old", 0]]);
  assert.deepEqual(counts, { all: 5, running: 1, waiting: 2, ended: 2 });
  assert.deepEqual(rowsOf(jobs, "ended").rows.map(({ id }) => id), ["new", "old"]);
});

test("ten thousand jobs are in rows at once", () => {
  const jobs = new Map(Array.from({ length: 10_000 }, (_, at) => [`j${at}`, job({ queuedTime: 10_000 - at })] as const));
  const began = performance.now();
  assert.equal(rowsOf(jobs, "waiting").rows[0]!.id, "j9999");
  assert.ok(performance.now() - began < 500);
});

test("each row says its state and its time", () => {
  const said = (more: Partial<Job>, place = 0, code?: number) => {
    const row = { id: "j", job: job(more), place };
    return [stateOf(row, 5, code).word, timeOf(row, 65_000)];
  };
  assert.deepEqual(said({}, 3), ["waiting, 3rd of 5", "waits 1:05"]);
  assert.deepEqual(said({ attempt: 1 }, 1)[0], "waiting, 1st of 5, again: its worker was lost");
  assert.deepEqual(said({ state: "Running" }), ["getting ready", "given 1:05 ago"]);
  assert.deepEqual(said({ state: "Running", startedTime: 60_000 }), ["running", "runs 0:05"]);
  const ended = { state: "Finished", finishedReason: "Success", startedTime: 1_000, time: 13_500 } as const;
  assert.deepEqual(said(ended), ["ended", "ran 12 s"]);
  assert.deepEqual([said(ended, 0, 0)[0], said(ended, 0, 3)[0]], ["done", "failed with exit code 3"]);
  assert.deepEqual(said({ state: "Finished", finishedReason: "TimedOut" }), ["ran too long", ""]);
});

test("what is used of a worker is what its jobs asked for", () => {
  const on = (worker: string, requirements?: Job["requirements"]) => job({ state: "Running", worker, requirements });
  const used = useOf([on("a"), on("a", { cpus: 2.5, gpus: 1, memory: "1g" }), on("b", { memory: "no size" }), job({})]);
  assert.deepEqual(used.get("a"), { jobs: 2, cpus: 3.5, gpus: 1, memory: 2 ** 30 });
  assert.deepEqual(used.get("b"), { jobs: 1, cpus: 1, gpus: 0, memory: 0 });
  assert.equal(ofHad(0.1 + 0.2, 4), "0.3 of 4");
  assert.deepEqual(["512m", "2 GiB", 7, "", undefined, "x"].map(bytesOf), [2 ** 29, 2 ** 31, 7, 0, 0, 0]);
});

test("names of people's own are kept, drawn ones are cut", () => {
  assert.equal(workerName("lab-gpu-3"), "lab-gpu-3");
  assert.equal(workerName("d5a8504b-f068-427d-bc61-718f3e515af8"), "d5a8504b");
  assert.equal(workerName("a".repeat(64)).length, 8);
  assert.equal(ownersOf(job({ namespaces: ["_", "ada"] })), "ada");
});

function asked() {
  const open: [string, (value: unknown) => void, (error: Error) => void][] = [];
  const ask = (what: string) => (id: string) => new Promise<never>((done, fail) => void open.push([`${what} ${id}`, done as never, fail]));
  return { open, details: new Details({ definition: ask("what"), history: ask("end") }) };
}

test("details are asked for a few at a time, for what is seen, and once", async () => {
  const { open, details } = asked();
  const of = (i: number) => ({ id: `j${i}`, job: job({}) });
  for (let i = 0; i < 10; i++) details.wantDefinition(of(i));
  assert.equal(open.length, ASKED_MAX);
  for (let i = 4; i < 9; i++) details.unwant(of(i));
  for (const [, done] of open.slice(0, 3)) done({ image: "a", command: "b" });
  open[3]![2](new Error("away"));
  await new Promise((done) => setTimeout(done));
  assert.deepEqual(open.map(([what]) => what), ["what j0", "what j1", "what j2", "what j3", "what j9"]);
  assert.deepEqual(details.definition("j0").value, { image: "a", command: "b" });
  details.wantDefinition(of(0));
  details.wantEnd(of(0));
  assert.equal(open.length, 5, "what it runs is known, and it has not ended");
  details.wantEnd({ id: "j0", job: job({ state: "Finished", time: 7 }) });
  assert.equal(open.at(-1)![0], "end j0");
  assert.notEqual(details.end({ id: "j0", job: job({ time: 7 }) }), details.end({ id: "j0", job: job({ time: 8 }) }), "it ended anew");
  details.wantDefinition(of(3));
  assert.equal(open.at(-1)![0], "what j3", "what failed is asked anew");
});

test("details that nobody looks at are let go", () => {
  const { details } = asked();
  const first = details.definition("j0");
  for (let i = 1; i <= KEPT_MAX; i++) details.definition(`j${i}`);
  assert.notEqual(details.definition("j0"), first);
});
