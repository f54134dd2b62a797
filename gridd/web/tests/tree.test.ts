import assert from "node:assert/strict";
import { test } from "node:test";
import { rowsOf, step } from "../src/tree";

const NAMES = ["b/x/deep.txt", "plot10.png", "plot9.png", "a/1.csv", "a/2.csv"];
const none = new Set<string>();

test("files stand before folders, numbers in their order", () => {
  const rows = rowsOf(NAMES, none);
  assert.deepEqual(rows.map((row) => row.path), ["plot9.png", "plot10.png", "a/", "a/1.csv", "a/2.csv", "b/", "b/x/", "b/x/deep.txt"]);
  assert.deepEqual(rows.map((row) => row.depth), [0, 0, 0, 1, 1, 0, 1, 2]);
  assert.deepEqual(rows.map((row) => row.name).slice(5), ["b/", "x/", "deep.txt"]);
  assert.equal(rows[2]!.files, 2);
});

test("what lies below a closed folder is not shown", () => {
  assert.deepEqual(rowsOf(NAMES, new Set(["a/", "b/x/"])).map((row) => row.path), ["plot9.png", "plot10.png", "a/", "b/", "b/x/"]);
});

test("arrow keys move, open and close", () => {
  const open = rowsOf(NAMES, none);
  const shut = rowsOf(NAMES, new Set(["a/"]));
  assert.deepEqual(step(open, "plot10.png", "ArrowDown"), { to: "a/" });
  assert.deepEqual(step(open, "plot9.png", "ArrowUp"), { to: "plot9.png" });
  assert.deepEqual(step(open, "plot9.png", "End"), { to: "b/x/deep.txt" });
  assert.deepEqual(step(open, "a/", "ArrowRight"), { to: "a/1.csv" });
  assert.deepEqual(step(shut, "a/", "ArrowRight"), { open: "a/" });
  assert.deepEqual(step(open, "a/", "ArrowLeft"), { close: "a/" });
  assert.deepEqual(step(open, "a/2.csv", "ArrowLeft"), { to: "a/" });
  assert.deepEqual(step(open, "plot9.png", "ArrowLeft"), {});
  assert.equal(step(open, "a/", "Tab"), undefined);
  assert.deepEqual(step(open, undefined, "ArrowDown"), { to: "plot9.png" });
});
