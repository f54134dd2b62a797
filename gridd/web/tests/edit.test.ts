import assert from "node:assert/strict";
import { test } from "node:test";
import { changesBetween, shownValue } from "../src/changes";
import { ALLOW, declaredIn, declaring, undeclared } from "../src/forhosts";
import { decodeObject, encodeJson, SYSTEM_NAMES } from "../src/hash";

test("what differs is told item by item, with both sides", () => {
  const before = { image: "a:1", env: { A: "1", B: "2" }, configFiles: { "run.py": { type: "utf8" as const, value: "x\n" } }, requirements: { cpus: 1 } };
  const now = { image: "a:2", env: { A: "1", C: "3" }, configFiles: { "run.py": { type: "utf8" as const, value: "y\n" } }, requirements: { cpus: 2 }, tags: ["gpu"] };
  assert.deepEqual(changesBetween(before, now).map((it) => [it.member, it.title, shownValue(it.before), shownValue(it.after)]), [
    ["image", "image", "a:1", "a:2"], ["tags", "worker tags", "", '["gpu"]'], ["requirements", "resource cpus", "1", "2"],
    ["env", "variable B", "2", ""], ["env", "variable C", "", "3"],
    ["configFiles", "file run.py", '{"type":"utf8","value":"x\\n"}', '{"type":"utf8","value":"y\\n"}'],
  ]);
  assert.deepEqual(changesBetween(before, structuredClone(before)), []);
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
