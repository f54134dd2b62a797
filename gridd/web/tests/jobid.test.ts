import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { jobId } from "../src/jobid";

interface Case { name: string; definition: Record<string, unknown>; id: string }
const CASES = JSON.parse(readFileSync("../../protocol/vectors/job-id.json", "utf8")) as Case[];

test(`the ${CASES.length} vectors of the protocol`, () => {
  assert.ok(CASES.length > 100);
  for (const { name, definition, id } of CASES) assert.equal(jobId(definition), id, name);
});

test("what has no id says so", () => {
  assert.throws(() => jobId({ image: "a", env: 3 }), /env/);
  assert.throws(() => jobId({ image: "a", inputs: { x: null } }), /x/);
});
