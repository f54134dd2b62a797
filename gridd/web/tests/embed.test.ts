import assert from "node:assert/strict";
import { test } from "node:test";
import { contentOf } from "../src/embed/content";
import { Host, type Values } from "../src/embed/host";
import { frameUrl, NAMES, type Written } from "../src/embed/link";
import { Frame } from "../src/frame";
import { decodeObject, encodeJson, parseHash } from "../src/hash";

/** Both sides, joined by a line that copies as a browser does. */
function joined() {
  const told: [string, unknown][] = [];
  const given: string[][] = [];
  const page = { postMessage: (message: unknown) => void host.receive(structuredClone(message)) };
  const host: Host = new Host("mf", "p1", (data) => void frame.receive({ source: page, data: structuredClone(data) }), {
    ready: () => void told.push(["ready", undefined]),
    outputs: (changed) => void told.push(["outputs", changed]),
    hash: (text) => void told.push(["hash", text]),
  });
  const make = () => new Frame(page, "mf", (names) => void given.push(names), () => 0 as never);
  let frame = make();
  return { host, told, given, frame: () => frame, load: () => (frame = make()).start() };
}

test("what is given before the frame is there is there with it", () => {
  const { host, told, frame, load } = joined();
  host.setInputs({ a: 1, b: 2 });
  host.setInputs({ b: undefined });
  load();
  assert.deepEqual(frame().inputs, { a: 1 });
  assert.deepEqual(told, [["ready", undefined]]);
});

test("inputs and outputs go both ways, merged, and undefined takes away", () => {
  const { host, told, given, frame, load } = joined();
  load();
  host.setInputs({ a: 1 });
  host.setInputs({ b: null, a: undefined });
  assert.deepEqual(given, [["a"], ["b", "a"]]);
  assert.deepEqual(frame().inputs, { b: null });
  frame().setOutputs({ x: 1, y: 2 });
  frame().setOutputs({ x: undefined });
  assert.deepEqual(host.outputs, { y: 2 });
  assert.deepEqual(told.slice(1), [["outputs", { x: 1, y: 2 }], ["outputs", { x: undefined }]]);
  frame().hashChanged("#?a=b");
  assert.deepEqual(told.at(-1), ["hash", "#?a=b"]);
});

test("a frame that is loaded anew is given everything again", () => {
  const { host, told, frame, load } = joined();
  load();
  host.setInputs({ a: 1 });
  load();
  assert.deepEqual(frame().inputs, { a: 1 });
  host.left();
  host.setInputs({ late: 3 });
  load();
  assert.deepEqual(frame().inputs, { a: 1, late: 3 });
  assert.equal(told.filter(([what]) => what === "ready").length, 3);
});

test("what a frame keeps with its page comes back to it", () => {
  const { host, frame, load } = joined();
  load();
  host.receive({ method: "InputsUpdate", params: { kept: "x" }, iframeId: "mf", parentId: "p1" });
  assert.deepEqual(frame().inputs, { kept: "x" });
});

test("strangers on the channel are left alone", () => {
  const { host, told, load } = joined();
  load();
  told.length = 0;
  const outputs = { method: "OutputsUpdate", params: { x: 1 } };
  for (const data of [null, "text", 5, [], { ...outputs }, { ...outputs, iframeId: "mf", parentId: "other" },
    { ...outputs, iframeId: "other", parentId: "p1" }, { ...outputs, iframeId: "mf", parentId: "p1", params: "x" }]) host.receive(data);
  assert.deepEqual(told, []);
  assert.deepEqual(host.outputs, {} as Values);
});

const GRID = "https://grid.example/";
const written = (some: Partial<Written>) => ({ ...Object.fromEntries(NAMES.map((name) => [name, null])), ...some }) as Written;

test("an element's words become the address of its frame", () => {
  const url = new URL(frameUrl(written({ queue: "my queue", image: "a:1", command: "x & y", namespace: "n", autostart: "" }), GRID, true));
  const { params } = parseHash(url.hash);
  assert.equal(url.origin + url.pathname, GRID);
  assert.deepEqual(decodeObject(params.get("job")), { image: "a:1", command: "x & y" });
  assert.deepEqual([params.get("queue"), params.get("autostart")], ["my%20queue", "true"]);
  assert.deepEqual(decodeObject(params.get("control")), { namespace: "n" });
});

test("a link is taken as it is, and what stands beside it wins", () => {
  const job = encodeJson({ image: "a", command: "b", env: { A: "1" } });
  const link = `https://other.example/#?job=${job}&autostart=true&NAME=x%20y`;
  assert.equal(frameUrl(written({ src: link }), GRID, true), `https://other.example/#?NAME=x%20y&autostart=true&job=${job}`);
  const changed = frameUrl(written({ src: link, command: "c", queue: "https://third.example/q" }), GRID, false);
  const { params } = parseHash(new URL(changed).hash);
  assert.deepEqual(decodeObject(params.get("job")), { image: "a", command: "c", env: { A: "1" } });
  assert.equal(params.get("queue"), "https://third.example/q");
  assert.equal(params.has("autostart"), false, "not before it has its inputs");
  assert.equal(frameUrl(written({ src: "/j/abc#?queue=q" }), GRID, true), "https://grid.example/j/abc#?queue=q");
});

test("what can't be an address or a job is refused", () => {
  assert.throws(() => frameUrl(written({ src: "javascript:alert(1)" }), GRID, true), /no address/);
  for (const job of ["[]", "{", '"x"']) assert.throws(() => frameUrl(written({ job }), GRID, true), /definition as JSON/);
});

test("outputs are read whatever form they have", async () => {
  const text = async (value: unknown) => (await contentOf(value)).text();
  assert.equal(await text({ type: "base64", value: "aGk=" }), "hi");
  assert.equal(await text({ type: "utf8", value: "" }), "");
  assert.equal(await text({ type: "json", value: { a: 1 } }), '{"a":1}');
  assert.equal(await text("plain"), "plain");
  assert.equal(await text(new Blob(["b"])), "b");
  assert.equal(await text(new Uint8Array([104, 105])), "hi");
  assert.equal(await text("data:text/plain;base64,aGk="), "hi");
  await assert.rejects(contentOf(undefined), /no such output/);
});
