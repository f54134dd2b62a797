import assert from "node:assert/strict";
import { test } from "node:test";
import type { Explanation, Job } from "../src/api";
import { commandLine, frameSnippet, python } from "../src/share";
import { quoted } from "../src/shell";
import { cells } from "../src/table";
import { clock, duration, failureOf, ordinal, sentence, size, statusOf } from "../src/words";

const job = (more: Partial<Job>): Job => ({ state: "Queued", queuedTime: 0, time: 0, worker: "", namespaces: ["_"], ...more });
const why = (more: Partial<Explanation>): Explanation => ({
  state: "Queued", summary: "", ahead: 0, waiting: 1, workersConnected: 1, workers: [{ worker: "w", could: true }], ...more,
});

test("numbers for people", () => {
  assert.deepEqual([0, 9_940, 59_999, 61_000, 7_260_000].map(duration), ["0.0 s", "9.9 s", "59 s", "1 min 1 s", "2 h 1 min"]);
  assert.deepEqual([-5, 61_000, 3_661_000].map(clock), ["0:00", "1:01", "1:01:01"]);
  assert.deepEqual([0, 999, 1_000, 25_300_000, 3e12].map(size), ["0 B", "999 B", "1.0 kB", "25 MB", "3.0 TB"]);
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal), ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]);
});

test("each state has a word", () => {
  const said = (it: Job, because: Explanation | null = null) => {
    const { word, tone, detail } = statusOf(it, because, 65_000);
    return `${word}/${tone}/${detail}`;
  };
  assert.equal(said(job({})), "Waiting/wait/1:05");
  assert.equal(said(job({}), why({ ahead: 2, waiting: 5 })), "Waiting/wait/3rd of 5 · 1:05");
  assert.equal(said(job({}), why({ workersConnected: 0, workers: [] })), "Waiting/bad/no worker on this queue");
  assert.equal(said(job({}), why({ workers: [{ worker: "w", could: false }] })), "Waiting/bad/no worker here can run it");
  assert.equal(said(job({ state: "Running", worker: "w" })), "Preparing/busy/1:05 · on w");
  assert.equal(said(job({ state: "Running", worker: "w", startedTime: 60_000 })), "Running/busy/0:05 · on w");
  const running = job({ state: "Running", worker: "0a1b2c3d-0000-4000-8000-000000000000" });
  assert.equal(statusOf(running, null, 65_000, "docker image pull").detail, "1:05 · pulling the image · on 0a1b2c3d");
  assert.equal(statusOf({ ...running, startedTime: 1 }, null, 65_000, "docker build").detail, "1:04 · on 0a1b2c3d");
  const ended = (reason: string, result = {}) =>
    said(job({ state: "Finished", finishedReason: reason, finished: { reason, time: 0, result } }));
  assert.equal(ended("Success", { StatusCode: 0, duration: 1_200 }), "Done/good/in 1.2 s");
  assert.equal(ended("Success", { StatusCode: 3, duration: 1_200 }), "Exit code 3/bad/after 1.2 s");
  assert.equal(ended("Error"), "Failed/bad/it could not be run");
  assert.equal(ended("TimedOut"), "Timed out/bad/");
  assert.equal(ended("Cancelled"), "Stopped/idle/");
  assert.equal(ended("JobReplacedByClient").split("/")[0], "Replaced");
});

test("each failure has a next step", () => {
  const failed = (finishedReason: string, result = {}) =>
    failureOf(job({ state: "Finished", finishedReason, finished: { reason: finishedReason, time: 0, result } }), { maxDuration: "5m" });
  assert.equal(failed("Success", { StatusCode: 0 }), undefined);
  assert.equal(failed("Cancelled"), undefined);
  const titles = [
    failed("TimedOut"), failed("Success", { StatusCode: 137 }), failed("Success", { StatusCode: 5 }),
    failed("Error", { error: "Failure to pull or build the docker image: no such host" }),
    failed("Error", { error: { message: "Failure to build the docker image: exit 4" } }),
    failed("Error", { error: "input x: its hash differs" }), failed("Error"),
  ].map((it) => it!.title);
  assert.deepEqual(titles, [
    "It ran longer than its limit of 5m", "The program was killed", "The program ended with exit code 5",
    "The image could not be had", "The image could not be built", "An input could not be had", "The job could not be run",
  ]);
});

test("what runs, in a few words", () => {
  assert.deepEqual(sentence({ image: "a", command: "b" }), { where: "a", what: "b" });
  assert.equal(sentence({ build: { context: "https://g" } }).where, "an image built from https://g");
  assert.deepEqual(sentence({ env: { A: "1" } }), { where: "", what: "" });
});

test("a job as a command line, in Python, as a frame", () => {
  assert.equal(quoted("it's"), `'it'\\''s'`);
  const definition = { image: "a:1", command: "echo 'x y'", env: { K: "v w" }, requirements: { cpus: 2 } };
  assert.equal(
    commandLine(definition, "http://g", "q", "L").replaceAll(" \\\n ", ""),
    `gridd run --api http://g --queue q --image a:1 --command 'echo '\\''x y'\\''' --env 'K=v w' --cpus 2`,
  );
  const elsewhere = { image: "a", inputs: { f: { type: "url" as const, value: "http://x" } } };
  assert.match(commandLine(elsewhere, "http://g", "q", "http://g/#?job=x&y"), /--definition 'http:\/\/g\/#\?job=x&y'$/);
  assert.match(python({ command: "'''" }, "http://g/q/x"), /\\u0027\\u0027\\u0027/);
  assert.match(frameSnippet('http://g/#?a="&b'), /src="http:\/\/g\/#\?a=&quot;&amp;b"/);
});

test("tables: quotes hold separators, line ends and quotes", () => {
  assert.deepEqual(cells('a,b\r\n"x,1","say ""hi""\nthere"\n', ","), [["a", "b"], ["x,1", 'say "hi"\nthere']]);
  assert.deepEqual(cells("a\tb\n\n1", "\t"), [["a", "b"], [""], ["1"]]);
});
