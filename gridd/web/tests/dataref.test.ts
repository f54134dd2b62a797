import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBase64, heldBytes, toBase64, toReference } from "../src/dataref";
import { prepare } from "../src/definition";
import { hashOf } from "../src/jobid";

/** What arrives in a frame, and what it is to a job (BROWSER 2.6). */
const ARRIVALS: [string, unknown, unknown][] = [
  ["nothing", null, undefined],
  ["nothing at all", undefined, undefined],
  ["text", "hi", { type: "utf8", value: "hi" }],
  ["no text", "", { type: "utf8", value: "" }],
  ["a number", 1.5, { type: "utf8", value: "1.5" }],
  ["a boolean, which upstream loses", false, { type: "json", value: false }],
  ["an object", { a: 1 }, { type: "json", value: { a: 1 } }],
  ["a list", [1], { type: "json", value: [1] }],
  ["a reference", { type: "url", value: "http://x" }, { type: "url", value: "http://x" }],
  ["a type without a value", { type: "json", value: 0 }, { type: "json", value: { type: "json", value: 0 } }],
  ["another type", { type: "Feature", value: 1 }, { type: "json", value: { type: "Feature", value: 1 } }],
  ["an old blob", { _s: true, _c: "Blob", value: "aGk=", size: 2 }, { type: "base64", value: "aGk=" }],
  ["an old reference", { ref: "utf8", value: "x" }, { type: "utf8", value: "x" }],
  ["an address", "data:text/x-uri;charset=utf-8,https%3A%2F%2Fa%2Fb", { type: "url", value: "https://a/b" }],
  ["bytes in text", "data:image/png;blob=true;base64,aGk=", { type: "base64", value: "aGk=" }],
  ["JSON in text", "data:application/json;charset=utf-8,%7B%22a%22%3A1%7D", { type: "json", value: { a: 1 } }],
  ["no JSON in text", "data:application/json,%7B", { type: "utf8", value: "{" }],
  ["text in text", "data:,a%20b", { type: "utf8", value: "a b" }],
  ["badly encoded", "data:,100%", { type: "utf8", value: "100%" }],
  ["no data after all", "data:", { type: "utf8", value: "data:" }],
  ["a blob", new Blob(["hi"]), { type: "base64", value: "aGk=" }],
  ["an array", new Uint8Array([104, 105]), { type: "base64", value: "aGk=" }],
  ["a part of an array", new Uint8Array([1, 104, 105]).subarray(1), { type: "base64", value: "aGk=" }],
  ["a buffer", new Uint8Array([104, 105]).buffer, { type: "base64", value: "aGk=" }],
];

for (const [name, arrives, reference] of ARRIVALS) {
  test(`an input: ${name}`, async () => assert.deepEqual(await toReference(arrives), reference));
}

test("bytes beyond what a library can serialize", () => {
  const bytes = new Uint8Array(300_000).map((_, i) => i % 251);
  assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
});

test("references that hold no bytes of their own", () => {
  assert.equal(heldBytes({ type: "url", value: "http://x" }), undefined);
  assert.equal(heldBytes({ type: "base64", value: "*" }), undefined);
});

test("values over 200 characters become uploads, others stay", async () => {
  const long = "x".repeat(201);
  const prepared = await prepare(
    { image: "i", configFiles: { f: { type: "utf8", value: long } } },
    { "/in/a": "x".repeat(200), job: { image: "other" }, b: new Uint8Array(1_000) },
    "https://g",
  );
  const hash = hashOf(new TextEncoder().encode(long));
  assert.deepEqual(prepared.definition.configFiles, { f: { type: "url", value: `https://g/f/${hash}`, hash } });
  assert.deepEqual(Object.keys(prepared.definition.inputs!), ["in/a", "b"]);
  assert.equal(prepared.definition.inputs!["in/a"]!.type, "utf8");
  assert.deepEqual([...prepared.uploads.values()].map((bytes) => bytes.length).sort(), [1_000, 201]);
});
