import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job, LogLine, LogPage } from "../src/api";
import { stamp } from "../src/choices";
import { Finder, patternOf } from "../src/find";
import { firstError } from "../src/firsterror";
import { Heights } from "../src/heights";
import { HEADING, Layout, ROW } from "../src/layout";
import { LogReader, LogText } from "../src/log";
import { spans } from "../src/spans";
import { stepsOf, type Told } from "../src/steps";

const RUNNING: Job = { state: "Running", queuedTime: 0, time: 0, worker: "w", namespaces: [] };

function ended(reason: string, result: object = {}): Job {
  return { ...RUNNING, state: "Finished", finishedReason: reason, finished: { reason, time: 9000, result } };
}

function textOf(...lines: [text: string, time: number, step?: string, stderr?: boolean][]): LogText {
  const text = new LogText();
  for (const [line, time, step, stderr] of lines) text.add([line, time, stderr ?? false], step);
  return text;
}

const PREPARED: Parameters<typeof textOf> = [
  ["3.12-slim: Pulling from library/python\n", 1000, "docker image pull"],
  ["Status: Downloaded\n", 3000, "docker image pull"],
  ["Step 1/2\n", 4000, "docker build"],
  ["Step 2/2\n", 6500, "docker build"],
];

function told(job: Job, build: LogText, run = new LogText(), definition = {}): Told {
  return { job, definition, build, run };
}

test("pull, build and run are steps with a state, a time and their lines", () => {
  const run = textOf(["hello\n", 7000], ["there\n", 8000]);
  const steps = stepsOf(told(ended("Success", { StatusCode: 0, duration: 1500 }), textOf(...PREPARED), run, { build: { dockerfile: "FROM x" } }));
  assert.deepEqual(steps.map((it) => [it.title, it.state, it.took, it.to - it.from, it.isOpen]), [
    ["Pull python:3.12-slim", "done", 3000, 2, false],
    ["Build", "done", 2500, 2, false],
    ["Run", "done", 1500, 2, true],
  ]);
  assert.equal(stepsOf(told(RUNNING, textOf(PREPARED[0]!), undefined, { image: "other:1" }))[0]!.title, "Pull other:1");
});

test("what is under way is open; what failed stays open", () => {
  const states = (job: Job, run?: LogText) => stepsOf(told(job, textOf(...PREPARED), run)).map((it) => `${it.word} ${it.isOpen ? "open" : "closed"}`);
  assert.deepEqual(states(RUNNING), ["done open", "running open"]);
  assert.deepEqual(states({ ...RUNNING, startedTime: 7000 }), ["done closed", "done closed", "running open"]);
  assert.deepEqual(states(ended("Error")), ["done open", "failed open"]);
  assert.deepEqual(states(ended("Cancelled")), ["done open", "stopped open"]);
  assert.deepEqual(states(ended("Success", { StatusCode: 3, duration: 1 })).at(-1), "exit code 3 open");
  assert.deepEqual(states(ended("TimedOut", { duration: 1 })).at(-1), "timed out open");
});

test("a grid that tells no steps has one before the run", () => {
  const steps = stepsOf(told(RUNNING, textOf(["a\n", 1], ["b\n", 2])));
  assert.deepEqual(steps.map((it) => [it.title, it.from, it.to]), [["Prepare", 0, 2]]);
});

test("a reader tells its lines apart by the steps of the grid, also in the middle", async () => {
  const lines: LogLine[] = [["p1\n", 0], ["p2\n", 0], ["b1\n", 0], ["b2\n", 0]];
  const page = (since: number): Promise<LogPage> => Promise.resolve({
    data: lines.slice(since, since + 3), sliceStart: since, nextCursor: Math.min(4, since + 3), isFinal: since + 3 >= 4, steps: [[0, "docker image pull"], [2, "docker build"]],
  });
  const reader = new LogReader(page, () => undefined, new LogText());
  reader.poke();
  for (let i = 0; i < 6; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(reader.text.sections, [{ step: "docker image pull", from: 0 }, { step: "docker build", from: 2 }]);
  assert.equal(reader.text.end, 4);
});

test("a page is asked for when the one before was taken in", async () => {
  const asked: number[] = [];
  let drain = () => {};
  const sink = { add: () => {}, remark: () => {}, clear: () => {}, drained: () => new Promise<void>((done) => void (drain = done)) };
  const page = (since: number): Promise<LogPage> => {
    asked.push(since);
    return Promise.resolve({ data: [["x\n", 0]], sliceStart: since, nextCursor: since + 1, isFinal: since === 2 });
  };
  new LogReader(page, () => undefined, sink).poke();
  for (const seen of [[0], [0, 1], [0, 1, 2]]) {
    for (let i = 0; i < 6; i++) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(asked, seen);
    drain();
  }
});

test("what moves the cursor is noticed; a bar in its line is drawn", () => {
  assert.equal(textOf(["\x1b[32mgreen\x1b[0m 10%\r20%\x1b[K\n", 0]).moves, false);
  assert.equal(textOf(["\x1b[2A\x1b[Ka\n", 0]).moves, true);
  assert.equal(textOf(["\x1b[?1049h", 0]).moves, true);
  assert.deepEqual(textOf(["10%\x1b[2K\x1b[1G20%\x1b[2K\x1b[G99%\n", 0]).lines.map((it) => it.text), ["99%"]);
});

test("heights: by row and by pixel, over many blocks", () => {
  const heights = new Heights();
  for (let i = 0; i < 5000; i++) heights.push(1 + (i % 3));
  for (const at of [0, 1, 511, 512, 513, 2048, 4999]) {
    assert.equal(heights.at(heights.offset(at)), at);
    assert.equal(heights.at(heights.offset(at + 1) - 1), at);
  }
  assert.equal(heights.offset(5000), heights.total);
  assert.equal(heights.at(1e9), 4999);
  const before = heights.offset(4000);
  heights.set(1000, 50);
  assert.equal(heights.offset(4000), before + 50 - 2);
  heights.clear();
  assert.deepEqual([heights.at(7), heights.offset(7), heights.total], [0, 0, 0]);
});

function laid(columns = Infinity): { layout: Layout; build: LogText; run: LogText; steps: () => ReturnType<typeof stepsOf> } {
  const [build, run] = [textOf(...PREPARED), textOf(["x".repeat(25) + "\n", 7000], ["two\n", 7000])];
  const steps = () => stepsOf(told(RUNNING, build, run));
  const layout = new Layout();
  layout.update(steps(), columns);
  return { layout, build, run, steps };
}

test("rows: headings, lines of what is open, wrapped ones as high as they are", () => {
  const { layout } = laid(10);
  assert.deepEqual([0, 1, 2, 3, 4].map((number) => [layout.row(number).step.key, layout.row(number).at]), [
    ["build-0", -1], ["build-1", -1], ["run", -1], ["run", 0], ["run", 1],
  ]);
  assert.equal(layout.heights.total, 3 * HEADING + 3 * ROW + ROW);
  assert.equal(layout.reveal("build", 3), 3, "the build is opened");
  assert.deepEqual([layout.count, layout.row(3).at], [7, 3]);
  assert.equal(layout.reveal("run", 0), 5);
  layout.toggle(layout.steps[2]!);
  assert.equal(layout.count, 5);
});

test("lines that come are added, the one that was open is looked at again, corrections stay", () => {
  const { layout, run, steps } = laid(10);
  assert.equal(layout.measured(3, 4 * ROW), ROW, "wrapped worse than reckoned");
  const same = steps();
  layout.update(same, 10);
  layout.measured(4, 7 * ROW);
  layout.update(same, 10);
  assert.equal(layout.heights.get(4), 7 * ROW, "drawn again, nothing new: it would be measured for ever");
  run.add(["three, and much longer", 0]);
  layout.update(steps(), 10);
  run.add([" than ten\n", 0]);
  layout.update(steps(), 10);
  assert.equal(layout.heights.get(3), 4 * ROW);
  assert.equal(layout.heights.get(5), ROW * Math.ceil("three, and much longer than ten".length / 10));
  layout.update(steps(), Infinity);
  assert.equal(layout.heights.total, 3 * HEADING + 3 * ROW);
  run.clear();
  layout.update(steps(), Infinity);
  assert.equal(layout.count, 6, "the build is seen again when the run is gone");
});

test("tabs and colours are reckoned as they are seen", () => {
  const layout = new Layout();
  const run = textOf(["a\tb\tc\n", 0], ["\x1b[31mred\x1b[0m\n", 0]);
  layout.update(stepsOf(told(RUNNING, new LogText(), run)), 10);
  assert.deepEqual([layout.heights.get(1), layout.heights.get(2)], [2 * ROW, ROW]);
});

test("finding goes on where it stopped, in both logs, in either case", () => {
  const [build, run] = [textOf(["Alpha\n", 0, "docker build"]), textOf(["beta\n", 0], ["alp", 0])];
  const finder = new Finder();
  const found = () => finder.hits.map((it) => `${it.log} ${it.number}`);
  finder.update("alpha", build, run);
  assert.deepEqual(found(), ["build 0"]);
  run.add(["\x1b[1mha\x1b[0m\n", 0]);
  run.add(["ALPHA again\n", 0]);
  assert.equal(finder.update("alpha", build, run), true);
  assert.deepEqual(found(), ["build 0", "run 1", "run 2"]);
  finder.update("a.*a", build, run);
  assert.deepEqual(found(), [], "it is a text, not a pattern");
  finder.update("a", build, run);
  run.clear();
  finder.update("a", build, run);
  assert.deepEqual(found(), ["build 0"]);
  finder.update("", build, run);
  assert.deepEqual(found(), []);
});

test("links lead to http alone, and end before what only follows them", () => {
  const links = (line: string) => spans(line).filter((it) => it.href).map((it) => it.href);
  assert.deepEqual(links("see (https://a.example/x), http://b.example/y?q=1#z."), ["https://a.example/x", "http://b.example/y?q=1#z"]);
  assert.deepEqual(links("https://a.example/wiki/A_(b)"), ["https://a.example/wiki/A_(b)"]);
  assert.deepEqual(links("javascript://alert(1) file:///etc/passwd ftp://x https://"), []);
  assert.deepEqual(spans("\x1b[31mhttps://a.ex\x1b[0mample/x"), [
    { text: "https://a.ex", style: "c1", href: "https://a.example/x" }, { text: "ample/x", style: "", href: "https://a.example/x" },
  ]);
});

test("what is looked for is marked across colours; in a very long line within bounds", () => {
  assert.deepEqual(spans("a\x1b[31mBc\x1b[0md", patternOf("bcd")), [
    { text: "a", style: "" }, { text: "Bc", style: "c1", isHit: true }, { text: "d", style: "", isHit: true },
  ]);
  const many = spans("a ".repeat(30_000), patternOf("a"));
  assert.ok(many.filter((it) => it.isHit).length <= 200);
  assert.equal(many.map((it) => it.text).join("").length, 60_000);
});

test("the first error: of the step that failed, not a warning", () => {
  const failed = ended("Success", { StatusCode: 1, duration: 5 });
  const run = textOf(["error rate 3\n", 0], ["w.py: UserWarning: failed once\n", 0, "", true], ["starting\n", 0, "", true], ["\x1b[31mValueError: x\x1b[0m\n", 0, "", true], ["KeyError\n", 0, "", true]);
  assert.deepEqual(firstError(told(failed, new LogText(), run)), { log: "run", number: 3, text: "ValueError: x" });
  assert.equal(firstError(told(failed, new LogText(), textOf(["fine\n", 0], ["boom\n", 0, "", true])))?.text, "boom");
  assert.equal(firstError(told(failed, new LogText(), textOf(["a\n", 0], ["Error: b\n", 0])))?.number, 1);
  const traceback = ["Traceback (most recent call last):\n", '  File "x", line 1\n', "KeyError: 'b'\n"].map((line): [string, number, string, boolean] => [line, 0, "", true]);
  assert.deepEqual(firstError(told(failed, new LogText(), textOf(...traceback))), { log: "run", number: 0, text: "KeyError: 'b'" });
  assert.equal(firstError(told(failed, new LogText(), textOf(["a\n", 0]))), undefined);
  assert.equal(firstError(told(ended("Success", { StatusCode: 0 }), new LogText(), run)), undefined);
  assert.equal(firstError(told(ended("Error"), textOf(...PREPARED, ["cannot build\n", 9, "docker build", true])))?.number, 4);
});

test("time stamps", () => {
  const time = new Date(2026, 0, 2, 3, 4, 5, 67).getTime();
  assert.equal(stamp(time, 0, "Time of day"), "03:04:05.067");
  assert.equal(stamp(time, time - 3_725_250, "Since start"), "1:02:05.250");
  assert.equal(stamp(time, time + 5, "Since start"), "0:00.000");
  assert.equal(stamp(0, 0, "Time of day") + stamp(time, 0, "No times"), "");
});
