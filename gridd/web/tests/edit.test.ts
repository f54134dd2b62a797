import assert from "node:assert/strict";
import { test } from "node:test";
import { changesBetween, lineChanges, LINES_MAX } from "../src/changes";
import { ALLOW, declaredIn, declaring, undeclared } from "../src/forhosts";
import { decodeObject, encodeJson, SYSTEM_NAMES } from "../src/hash";

test("what differs is told item by item, with both sides", () => {
  const before = { image: "a:1", env: { A: "1", B: "2" }, configFiles: { "run.py": { type: "utf8" as const, value: "x\n" } }, requirements: { cpus: 1 } };
  const now = { image: "a:2", env: { A: "1", C: "3" }, configFiles: { "run.py": { type: "utf8" as const, value: "y\n" } }, requirements: { cpus: 2 }, tags: ["gpu"] };
  assert.deepEqual(changesBetween(now, before).map(({ title, before, now }) => [title, before, now]), [
    ["Image", "a:1", "a:2"], ["Worker tags", "", '["gpu"]'], ["Resources cpus", "1", "2"],
    ["Variable B", "2", ""], ["Variable C", "", "3"], ["File run.py", "x\n", "y\n"],
  ]);
  assert.deepEqual(changesBetween(before, structuredClone(before)), []);
  const [uploaded] = changesBetween(
    { inputs: { a: { type: "url", value: "http://g/f/1", hash: "1" } } }, { inputs: { a: { type: "utf8", value: "short" } } });
  assert.deepEqual([uploaded!.before, uploaded!.now], ["short", "http://g/f/1"]);
});

test("of long texts the lines that differ", () => {
  const as = (before: string, now: string) => lineChanges(before, now).map(({ sign, text }) => sign + text);
  assert.deepEqual(as("a\nb\nc\nd\n", "a\nb\nX\nd\n"), [" b", "-c", "+X", " d"]);
  assert.deepEqual(as("", "a\n"), ["+a"]);
  assert.deepEqual(as("a\na\n", "a\n"), [" a", "-a"]);
  const many = as("x\n".repeat(1), Array.from({ length: 500 }, (_, at) => `l${at}`).join("\n"));
  assert.equal(many.length, LINES_MAX + 1);
  assert.equal(many.at(-1), " … 301 more lines");
});

test("what is declared carries all that hosts read from metaframe.json", () => {
  const written = declaring({ inputs: { "a.csv": { type: "text/csv" } }, outputs: { b: {} } }, undefined);
  const found = decodeObject(written)!;
  assert.deepEqual([found.version, found.allow], ["2", ALLOW]);
  assert.deepEqual(found.hashParams, [...SYSTEM_NAMES]);
  assert.deepEqual(declaredIn(written), { inputs: { "a.csv": { type: "text/csv" } }, outputs: { b: {} } });
  assert.equal(declaring({ inputs: {}, outputs: {} }, written), undefined);
});

test("others' declarations are kept, and odd ones are no harm", () => {
  const upstreams = encodeJson({ inputs: { x: { type: "json" } }, outputs: {}, metadata: { name: "mine" }, allow: "camera" });
  const found = decodeObject(declaring(declaredIn(upstreams), upstreams))!;
  assert.deepEqual([found.allow, found.metadata, found.version], ["camera", { name: "mine" }, "2"]);
  for (const odd of [undefined, "%%%", encodeJson([]), encodeJson({ inputs: 5, outputs: { a: null, b: { type: 7 } } })]) {
    assert.equal(Object.keys(declaredIn(odd).inputs).length, 0);
  }
  assert.deepEqual(undeclared(["a", "b"], { a: {} }), ["b"]);
});
