import assert from "node:assert/strict";
import { test } from "node:test";
import { Frame } from "../src/frame";

interface Said { method: string; params: any; iframeId: string; parentId?: string; id: number }

function setUp() {
  const said: Said[] = [];
  const changes: string[][] = [];
  const timers: [() => void, number][] = [];
  const parent = { postMessage: (message: unknown) => void said.push(message as Said) };
  const later = (call: () => void, ms: number) => (timers.push([call, ms]), 0 as never);
  const frame = new Frame(parent, "mf", (names) => void changes.push(names), later);
  const tell = (method: string, params: unknown, ids = { iframeId: "mf", parentId: "p" }) =>
    frame.receive({ source: parent, data: { jsonrpc: "2.0", id: "_", method, params, ...ids } });
  const answer = (inputs: unknown) =>
    tell("SetupIframeServerResponse", { iframeId: "mf", parentId: "p", state: { inputs }, version: "2" });
  return { said, changes, timers, frame, tell, answer, parent };
}

test("registers, and takes what the parent already has", () => {
  const { said, changes, frame, answer, tell } = setUp();
  frame.setOutputs({ early: 1 });
  frame.start();
  answer({ a: "x" });
  tell("InputsUpdate", { inputs: { b: 2 }, parentId: "p" });
  assert.deepEqual(said.map((it) => it.method), [
    "SetupIframeClientRequest", "SetupIframeServerResponseAck", "OutputsUpdate",
  ]);
  assert.deepEqual(said[2]!.params, { early: 1 });
  assert.deepEqual([said[0]!.parentId, said[1]!.parentId, said[1]!.iframeId], [undefined, "p", "mf"]);
  assert.deepEqual(changes, [["a"], ["b"]]);
  assert.deepEqual(frame.inputs, { a: "x", b: 2 });
});

test("asks again until a late parent listens, ever more slowly", () => {
  const { said, timers, frame, answer } = setUp();
  frame.start();
  for (let i = 0; i < 7; i++) timers[i]![0]();
  assert.equal(said.length, 8);
  assert.deepEqual(timers.map(([, ms]) => ms), [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
  answer({});
  timers.at(-1)![0]();
  assert.equal(said.filter((it) => it.method === "SetupIframeClientRequest").length, 8);
});

test("undefined takes an input away, null stays", () => {
  const { frame, answer, tell } = setUp();
  answer({ a: 1, b: 2 });
  tell("InputsUpdate", { inputs: { a: undefined, b: null } });
  assert.deepEqual(frame.inputs, { b: null });
});

test("what others say is not heard", () => {
  const { frame, changes, tell, parent } = setUp();
  frame.receive({ source: {}, data: { method: "SetupIframeServerResponse", params: { iframeId: "mf", parentId: "p" } } });
  frame.receive({ source: parent, data: "text" });
  frame.receive({ source: parent, data: { method: "InputsUpdate" } });
  tell("SetupIframeServerResponse", { iframeId: "other", parentId: "p", state: { inputs: { a: 1 } } });
  assert.equal(frame.isConnected, false);
  tell("SetupIframeServerResponse", { iframeId: "mf", parentId: "p", state: {} });
  tell("InputsUpdate", { inputs: { a: 1 } }, { iframeId: "mf", parentId: "foreign" });
  tell("InputsUpdate", { inputs: { a: 1 } }, { iframeId: "other", parentId: "p" });
  assert.deepEqual(changes, []);
});

test("a changed address is told to the parent", () => {
  const { said, frame } = setUp();
  frame.hashChanged("#?a=b");
  assert.deepEqual([said[0]!.method, said[0]!.params], ["HashParamsUpdate", { hash: "#?a=b", metaframe: "mf" }]);
});
