import assert from "node:assert/strict";
import { test } from "node:test";
import { Live, PING_MS, SILENCE_MS, type Socket } from "../src/live";

class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  onerror: (() => void) | null = null;
  sent: string[] = [];
  closed = false;
  send(text: string) { this.sent.push(text); }
  close() { this.closed = true; }
  say(message: unknown) { this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) }); }
}

function setUp() {
  const sockets: FakeSocket[] = [];
  const heard: unknown[][] = [];
  let timer: { call: () => void; ms: number } | undefined;
  const hear = (name: string) => (...values: unknown[]) => void heard.push([name, ...values]);
  const live = new Live(
    "ws://x",
    { onAll: hear("all"), onChanged: hear("changed"), onWorkers: hear("workers"), onLog: hear("log"), onLink: hear("link"), onRefusal: hear("refusal") },
    () => { const socket = new FakeSocket(); sockets.push(socket); return socket; },
    { set: (call, ms) => { timer = { call, ms }; return 1; }, clear: () => { timer = undefined; } },
  ).start();
  const ring = () => { const it = timer!; timer = undefined; it.call(); return it.ms; };
  return { live, sockets, heard, ring, pending: () => timer?.ms };
}

test("passes on what the grid says, and leaves what it does not know", () => {
  const { sockets, heard } = setUp();
  const [socket] = sockets;
  socket!.onopen!();
  socket!.say({ type: "Workers", payload: { workers: [{ id: "w" }] } });
  socket!.say({ type: "JobStates", payload: { state: { jobs: { j: 1 } }, isSubset: false } });
  socket!.say({ type: "JobStateUpdates", payload: { state: { jobs: {} }, isSubset: true, gone: { j: "Cancelled" } } });
  socket!.say({ type: "JobStatusPayload", payload: { jobId: "j", step: "Running", logs: [] } });
  socket!.say({ type: "Error", payload: { message: "no" } });
  for (const odd of ["", "{", "null", "[]", '{"type":"New"}']) {
    socket!.say(odd);
  }
  assert.deepEqual(heard, [
    ["link", true], ["workers", [{ id: "w" }]], ["all", { j: 1 }], ["changed", {}, { j: "Cancelled" }], ["log", "j", "Running"], ["refusal", "no"],
  ]);
});

test("comes back after a break, ever more slowly, and quickly again after a success", () => {
  const { sockets, heard, ring } = setUp();
  sockets[0]!.onopen!();
  sockets[0]!.onclose!();
  const delays = [];
  for (let i = 1; i < 8; i++) {
    delays.push(ring());
    sockets[i]!.onclose!();
  }
  assert.deepEqual(delays, [250, 500, 1000, 2000, 4000, 5000, 5000]);
  assert.deepEqual(heard, [["link", true], ["link", false]]);
  ring();
  sockets.at(-1)!.onopen!();
  sockets.at(-1)!.onclose!();
  assert.equal(ring(), 250);
});

test("a line that stays silent is given up", () => {
  const { sockets, heard, ring } = setUp();
  sockets[0]!.onopen!();
  sockets[0]!.say("PONG");
  assert.equal(ring(), PING_MS);
  assert.deepEqual(sockets[0]!.sent, ["PING", "PING"]);
  assert.equal(ring(), SILENCE_MS);
  assert.ok(sockets[0]!.closed);
  assert.deepEqual(heard.at(-1), ["link", false]);
  ring();
  assert.equal(sockets.length, 2);
});

test("nothing is sent on a line that is down, and nothing comes after the end", () => {
  const { live, sockets, heard, pending } = setUp();
  assert.equal(live.send("QueryJob", {}), false);
  sockets[0]!.onopen!();
  assert.equal(live.send("QueryJob", { jobId: "j" }), true);
  live.close();
  sockets[0]!.say({ type: "Workers", payload: {} });
  assert.deepEqual([heard.length, pending(), sockets.length], [1, undefined, 1]);
});

test("when the network is back, it does not wait for what may be dead", () => {
  const { live, sockets, heard, ring } = setUp();
  sockets[0]!.onopen!();
  live.renew();
  assert.ok(sockets[0]!.closed);
  assert.deepEqual(heard, [["link", true], ["link", false]]);
  assert.equal(ring(), 250);
  sockets[1]!.onclose!(); // and one that waits for its next try has it now
  live.renew();
  assert.equal(ring(), 0);
  live.close();
  live.renew();
  assert.equal(sockets.length, 3);
});
