import assert from "node:assert/strict";
import { test } from "node:test";
import type { Happened } from "../src/api";
import { Details } from "../src/details";
import { handedOver, Viewer, viewerAddress, VALUE_BYTES_MAX } from "../src/viewer";
import { rememberViewer, viewersOf, type Store } from "../src/viewers";

const ORIGIN = "https://viewer.example";

function world() {
  const said: { method: string; params: any; origin: string }[] = [];
  const target = { postMessage: (message: any, origin: string) => void said.push({ method: message.method, params: message.params, origin }) };
  const heard: string[] = [];
  const viewer = new Viewer(() => target, "v1", "p1", ORIGIN, { "a.csv": "1,2" }, () => heard.push("connected"), (hash) => heard.push(hash));
  const say = (method: string, params: unknown = {}, more: object = {}, from: unknown = target, origin = ORIGIN) =>
    viewer.receive({ source: from, origin, data: { jsonrpc: "2.0", method, params, iframeId: "v1", parentId: "p1", ...more } });
  return { said, heard, say, viewer };
}

test("a viewer that asks is given the file", () => {
  const { said, heard, say } = world();
  say("SetupIframeClientRequest", { version: "2" }, { parentId: undefined });
  say("SetupIframeServerResponseAck");
  assert.deepEqual(said.map((it) => it.method), ["SetupIframeServerResponse", "InputsUpdate"]);
  assert.deepEqual(said[0]!.params, { iframeId: "v1", parentId: "p1", state: { inputs: { "a.csv": "1,2" } }, version: "2" });
  assert.ok(said.every((it) => it.origin === ORIGIN));
  assert.deepEqual(heard, ["connected"]);
  say("HashParamsUpdate", { hash: "#?zoom=3", metaframe: "v1" });
  say("HashParamsUpdate", { hash: 3 });
  say("OutputsUpdate", { picked: 1 });
  assert.deepEqual(heard, ["connected", "#?zoom=3"]);
  say("SetupIframeClientRequest", {}, { parentId: undefined }); // loaded anew
  assert.equal(said.length, 3);
});

test("what others say is left", () => {
  const { said, heard, say, viewer } = world();
  say("SetupIframeClientRequest", {}, {}, { postMessage: () => undefined });
  say("SetupIframeClientRequest", {}, {}, null);
  say("SetupIframeClientRequest", {}, {}, undefined, "https://elsewhere.example"); // it moved
  say("SetupIframeClientRequest", {}, { iframeId: "other" });
  say("HashParamsUpdate", { hash: "#?a" }, { parentId: "foreign" });
  for (const data of [null, "text", 3]) viewer.receive({ source: null, origin: ORIGIN, data });
  assert.deepEqual([said, heard], [[], []]);
});

const bytes = (text: string) => new TextEncoder().encode(text);

test("text goes as text, JSON as what it says, bytes as a blob, and much by reference", async () => {
  const give = (kind: string, held: Uint8Array<ArrayBuffer> | undefined, mime = "") => handedOver(kind, mime, "a b.x", held, "https://grid/j/1/outputs/a%20b.x");
  assert.deepEqual(give("table", bytes("1,2")), { value: "1,2", isReference: false });
  assert.deepEqual(give("json", bytes('{"a":1}')), { value: { a: 1 }, isReference: false });
  assert.deepEqual(give("json", bytes("{")), { value: "{", isReference: false });
  const blob = give("bytes", new Uint8Array([0, 1]), "image/png").value as Blob;
  assert.deepEqual([blob.type, blob.size], ["image/png", 2]);
  for (const held of [undefined, new Uint8Array(VALUE_BYTES_MAX + 1)]) {
    assert.deepEqual(give("bytes", held, "image/png"), { value: "data:text/x-uri;charset=utf-8;mimeType=image%2Fpng;name=a%20b.x,https%3A%2F%2Fgrid%2Fj%2F1%2Foutputs%2Fa%2520b.x", isReference: true });
  }
});

test("addresses are completed, and what is none is refused", () => {
  assert.equal(viewerAddress(" viewer.example/x#?a=1 ")!.href, "https://viewer.example/x#?a=1");
  assert.equal(viewerAddress("http://127.0.0.1:8/")!.href, "http://127.0.0.1:8/");
  for (const none of ["", "javascript:alert(1)", "two words", "https://", "data:text/html,x"]) {
    const url = viewerAddress(none);
    assert.ok(url === undefined || url.protocol === "https:", none);
  }
  assert.equal(viewerAddress("two words"), undefined);
  assert.equal(viewerAddress("http://127.0.0.1:8000/#?autostart=true", "http://127.0.0.1:8000"), undefined);
});

test("the last viewers of an ending are remembered, each page once", () => {
  let kept: string | null = null;
  const store: Store = { getItem: () => kept, setItem: (_, value) => void (kept = value) };
  for (let n = 0; n < 7; n++) rememberViewer("csv", `https://v${n}/`, store);
  rememberViewer("csv", "https://v5/#?zoom=2", store);
  rememberViewer("png", "https://p/", store);
  rememberViewer("csv", `https://long/${"x".repeat(5_000)}`, store);
  assert.deepEqual(viewersOf("csv", store), ["https://v5/#?zoom=2", "https://v6/", "https://v4/", "https://v3/", "https://v2/"]);
  assert.deepEqual(viewersOf("png", store), ["https://p/"]);
  kept = "{nonsense";
  assert.deepEqual(viewersOf("csv", store), []);
});

test("details are asked for once, a few at a time, and again after a failure", async () => {
  let [under, most, calls] = [0, 0, 0];
  let isDown = true;
  const api = {
    definition: async (id: string) => {
      calls++;
      most = Math.max(most, ++under);
      await new Promise((done) => setTimeout(done, 1));
      under--;
      if (isDown) throw new Error("down");
      return { command: id };
    },
    history: async (): Promise<Happened[]> => [{ time: 1, event: "submitted" }, { time: 2, event: "finished", reason: "Success", exitCode: 3, ran: 50, duration: 40 }],
  };
  const details = new Details(api);
  const entries = Array.from({ length: 10 }, (_, at) => ({ id: `j${at}`, time: at }));
  const settled = async () => {
    while (under) await new Promise((done) => setTimeout(done, 2));
  };
  for (const it of entries) details.wantDefinition(it);
  await settled();
  assert.deepEqual([calls, most, details.changed.value], [10, 4, 0]);
  isDown = false;
  for (const it of entries) details.wantDefinition(it);
  for (const it of entries) details.wantDefinition(it);
  await settled();
  assert.deepEqual([calls, details.definition("j9").value], [20, { command: "j9" }]);
  details.wantEnd(entries[0]!);
  await new Promise((done) => setTimeout(done, 5));
  const end = details.end(entries[0]!).value!;
  assert.deepEqual([end.exitCode, end.took, end.reason], [3, 40, "Success"]);
});
