import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job, LogLine, LogPage } from "../src/api";
import { changesBetween } from "../src/changes";
import { firstDifference, outputChanges } from "../src/compare";
import { declaredOutputs, missingOutputs } from "../src/declared";
import { encodeJson, parseHash } from "../src/hash";
import { hashOf } from "../src/jobid";
import { isAlike, joined, near } from "../src/lineage";
import { diff, EDITS_MAX, hunks } from "../src/linediff";

const utf8 = (value: string) => ({ type: "utf8" as const, value });
const url = (text: string) => ({ type: "url" as const, value: `http://grid/f/${hashOf(new TextEncoder().encode(text))}` });
const applied = (lines: { sign: string; text: string }[], leave: string) => lines.filter((it) => it.sign !== leave).map((it) => it.text);

test("a difference leads from one text to the other", () => {
  for (const [a, b] of [["a\nb\nc\n", "a\nx\nc\n"], ["", "a\n"], ["a\n", ""], ["a\nb\nc\nd", "b\nc\nx\nd\ne"], ["x\ny\nx\ny", "y\nx\ny\nx"], ["same\n", "same\n"]]) {
    const found = diff(a!, b!)!;
    assert.equal(applied(found, "+").join("\n"), a!.replace(/\n$/, ""));
    assert.equal(applied(found, "-").join("\n"), b!.replace(/\n$/, ""));
  }
  assert.equal(diff("a\nb\nc\nd", "b\nc\nx\nd\ne")!.filter((it) => it.sign !== " ").length, 3, "and is the shortest");
});

test("texts with little in common are not told in lines", () => {
  const other = (name: string) => Array.from({ length: EDITS_MAX }, (_, at) => `${name}${at}`).join("\n");
  assert.equal(diff(other("a"), other("b")), undefined);
  assert.equal(diff("x\n".repeat(20_001), ""), undefined);
});

test("changes are shown with what is around them", () => {
  const before = Array.from({ length: 40 }, (_, at) => `line ${at}`);
  const after = before.map((line, at) => (at === 10 || at === 30 ? "new" : line));
  const found = hunks(diff(before.join("\n"), after.join("\n"))!);
  assert.deepEqual(found.map((it) => [it.skipped, it.lines.length]), [[7, 8], [13, 8]]);
});

test("two definitions differ where they ask for different things", () => {
  const a = { image: "python:3.11", command: "python run.py", env: { A: "1" }, configFiles: { "run.py": utf8("x"), "same.txt": utf8("same") } };
  const b = { image: "python:3.12", command: "python run.py", env: { A: "1", B: "2" }, configFiles: { "run.py": utf8("y"), "same.txt": url("same") }, v: 2 };
  assert.deepEqual(changesBetween(a, b).map((it) => [it.title, it.isFile]), [["image", false], ["variable B", false], ["file run.py", true]]);
  assert.deepEqual(changesBetween(a, structuredClone(a)), []);
});

test("files are the same when what is in them is", async () => {
  const before = { a: utf8("x"), b: utf8("1"), c: url("big"), d: utf8("d"), far: { type: "url" as const, value: "http://elsewhere/x" } };
  const after = { a: { type: "base64" as const, value: btoa("x") }, b: utf8("2"), c: url("big"), e: utf8("e"), far: { type: "url" as const, value: "http://elsewhere/y" } };
  const asked: string[] = [];
  const found = await outputChanges(before, after, async (side, name) => {
    asked.push(`${side} ${name}`);
    return undefined;
  });
  assert.deepEqual(found.map((it) => `${it.name} ${it.verdict}`), ["a same", "b changed", "c same", "d only before", "e only after", "far can't be told"]);
  assert.deepEqual(asked, ["0 far", "1 far"]);
});

/** Pages of two chunks each. */
function pages(...chunks: string[]): (since: number) => Promise<LogPage> {
  return async (since) => {
    const data = chunks.slice(since, since + 2).map((text): LogLine => [text, 0]);
    return { data, sliceStart: since, nextCursor: since + data.length, isFinal: since + 2 >= chunks.length };
  };
}

test("logs are read until they part", async () => {
  const one = pages("a\n", "b", "b\n", "c\n");
  const found = await firstDifference(one, pages("a\nbb\n", "d\n"));
  assert.deepEqual([found.line, found.before, found.after], [3, "c", "d"]);
  const shorter = await firstDifference(one, pages("a\n", "bb\n"));
  assert.deepEqual([shorter.line, shorter.before, shorter.after], [3, "c", undefined]);
  const same = await firstDifference(one, one);
  assert.deepEqual([same.line, same.read, same.isWhole], [undefined, 3, true]);
  const empty = await firstDifference(pages(), pages());
  assert.deepEqual([empty.line, empty.read, empty.isWhole], [undefined, 0, true]);
});

function job(changes: Partial<Job>): Job {
  return { state: "Finished", queuedTime: 1, time: 2, worker: "w", namespaces: ["_"], finishedReason: "Success", ...changes };
}

test("the grid's list, this browser's memory and the present run are one list", () => {
  const queued = job({ state: "Queued", queuedTime: 5, time: 5 });
  const entries = joined(
    [{ old: job({ time: 10 }), new: job({ time: 30 }), gone: job({ state: "Removed" }) }, { new: job({ time: 20, finishedReason: "Error" }), waits: queued }],
    [{ id: "here", queue: "", time: 15, title: "only here" }, { id: "old", queue: "", time: 3, title: "x" }],
    { id: "now", job: job({ time: 40 }) },
  );
  assert.deepEqual(entries.map((it) => it.id), ["waits", "now", "new", "here", "old"]);
  assert.equal(entries[2]!.job!.finishedReason, "Success");
  assert.equal(entries[4]!.title, "x");
});

test("a crowd in the queue hides no earlier run", () => {
  const crowd = Array.from({ length: 50 }, (_, at) => ({ id: `q${at}`, time: at, job: job({ state: "Queued" }) }));
  const ended = Array.from({ length: 5 }, (_, at) => ({ id: `e${at}`, time: at, job: job({}) }));
  const found = near([...crowd, ...ended, { id: "here", time: 0 }], 3, new Set(["q40", "here"]));
  assert.deepEqual(found.map((it) => it.id), ["q0", "q1", "q2", "q40", "e0", "e1", "e2", "here"]);
});

test("runs of one page look alike", () => {
  const page = { image: "python:3.11-slim", command: "python /inputs/run.py", configFiles: { "run.py": utf8("1") } };
  assert.ok(isAlike(page, { ...page, image: "python:3.12@sha256:12" }));
  assert.ok(isAlike(page, { ...page, command: "python -c 1" }));
  assert.ok(isAlike(page, { ...page, image: "pypy:3" }), "the same program and a file of the same name");
  assert.ok(!isAlike(page, { image: "registry:5000/python:3", command: "python x" }));
  assert.ok(!isAlike(page, { image: "alpine", command: "echo" }));
});

test("what is declared and not there is missing, after a success", () => {
  const hash = parseHash(`#?definition=${encodeJson({ version: "2", outputs: { "a.csv": {}, "plots/*.png": {}, "b(1).txt": {} } })}`);
  const declared = declaredOutputs(hash);
  const ended = (names: string[], code = 0) => job({ finished: { reason: "Success", time: 2, result: { StatusCode: code, outputs: Object.fromEntries(names.map((name) => [name, utf8("x")])) } } });
  assert.deepEqual(missingOutputs(declared, ended(["plots/1.png", "b(1).txt"])), ["a.csv"]);
  assert.deepEqual(missingOutputs(declared, ended([])), ["a.csv", "b(1).txt", "plots/*.png"]);
  assert.deepEqual(missingOutputs(declared, ended([], 1)), []);
  assert.deepEqual(missingOutputs(declared, undefined), []);
  assert.deepEqual(declaredOutputs(parseHash("#?definition=x")), []);
});
