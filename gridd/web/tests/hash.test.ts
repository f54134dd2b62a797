import assert from "node:assert/strict";
import { test } from "node:test";
import { isRunnable, prepare, written } from "../src/definition";
import { chosenQueue, decodeJson, encodeJson, formatHash, parseHash, userParameters } from "../src/hash";

const ORIGIN = "https://grid.example";

/** Links that were made for upstream's page, and the ids of the jobs that they opened there. */
const LINKS = [
  ["#?ignoreQueueOverride=true&job=JTdCJTIyY29tbWFuZCUyMiUzQSUyMmVjaG8lMjAlNUMlMjJoZWxsbyUyMHdvcmxkJTVDJTIyJTIyJTJDJTIyaW1hZ2UlMjIlM0ElMjJhbHBpbmUlM0EzLjE5LjElMjIlN0Q%3D&queue=public1", "9a684c59f4270fa102f102d2aafe92d5e78ad285116f02d845e5dabbfb0ba873"],
  ["#?ALPHA=a%20b&BETA=1&autostart=true&inputs=JTdCJTIycnVuLnNoJTIyJTNBJTIyZWNobyUyMGhpJTIyJTdE&job=JTdCJTIyY29tbWFuZCUyMiUzQSUyMnJ1biUyMCUyNCU3QkFMUEhBJTdEJTIyJTJDJTIyaW1hZ2UlMjIlM0ElMjJhbHBpbmUlM0EzLjE5LjElMjIlMkMlMjJlbnYlMjIlM0ElN0IlMjJLJTIyJTNBJTIydiUyMiU3RCU3RA==&mp-channel=zz&queue=q1&readonly=true", "be8fc6a70bef22b0104b75f0c85e5f921bad7a528eb371ddd4447494d80c2fcb"],
] as const;

test("links of upstream's page open the same jobs", async () => {
  for (const [hash, id] of LINKS) {
    const definition = written(parseHash(hash));
    assert.ok(isRunnable(definition));
    assert.equal((await prepare(definition, {}, ORIGIN)).id, id);
  }
});

test("user parameters fill the environment and the command, raw", () => {
  const definition = written(parseHash(LINKS[1][0]))!;
  assert.equal(definition.command, "run a%20b");
  assert.deepEqual(definition.env, { K: "v", ALPHA: "a%20b", BETA: "1" });
  assert.deepEqual(definition.configFiles, { "run.sh": { type: "utf8", value: "echo hi" } });
});

test("only the first hole of a name is filled, and $& is only text", () => {
  const hash = parseHash(`#?job=${encodeJson({ image: "i", command: "${A} ${A}", build: { context: "u/${A}/${B}" } })}&A=$&&B=2`);
  const definition = written(hash)!;
  assert.equal(definition.command, "$ ${A}");
  assert.equal(definition.build?.context, "u/$/2");
});

test("an address reads and writes as upstream's", () => {
  const hash = parseHash("##/queue/1?b=2&a=x=y&flag&&b=3");
  assert.deepEqual([hash.before, ...hash.params], ["/queue/1", ["b", "3"], ["a", "x=y"], ["flag", ""]]);
  assert.equal(formatHash(hash), "#/queue/1?a=x=y&b=3&flag=");
  assert.equal(formatHash(parseHash("#?")), "");
  assert.equal(formatHash(parseHash("#old")), "#old");
});

test("JSON values: keys sorted, any text, old padding, and nonsense is nothing", () => {
  assert.equal(encodeJson({ b: 1, a: "é" }), encodeJson({ a: "é", b: 1 }));
  const value = { text: "日本 & = #", list: [1, null, { z: 0 }] };
  assert.deepEqual(decodeJson(encodeJson(value)), value);
  assert.deepEqual(decodeJson(encodeURIComponent(encodeJson({ a: "x" }))), { a: "x" });
  for (const text of ["", "%%%", "abc", btoa("{"), undefined]) assert.equal(decodeJson(text), undefined);
});

test("what hosts add for themselves is nobody's parameter", () => {
  const hash = parseHash("#?mp_debug=1&mp-x=1&channel=c&CHANNEL=c&readonly=1&edit=1&parent-metapage-id=p&fs-path=f&queue=q&tab=5");
  assert.deepEqual(userParameters(hash), { tab: "5" });
});

test("the queue: a name, somebody else's choice, an address, this machine", () => {
  const choose = (hash: string, origin = ORIGIN) => chosenQueue(parseHash(hash), origin);
  assert.equal(choose("#?job=x"), undefined);
  assert.deepEqual(choose("#?queue=q"), { name: "q", base: ORIGIN, key: "q", overridden: false });
  assert.equal(choose("#?queue=q&queueOverride=o")?.key, "o");
  assert.equal(choose("#?queue=q&queueOverride=o&ignoreQueueOverride=true")?.key, "q");
  assert.deepEqual(choose("#?queue=https://other.example/name"), {
    name: "https://other.example/name", base: "https://other.example", key: "name", overridden: false,
  });
  assert.equal(choose("#?queue=https://other.example/100%")?.key, "100%");
  assert.equal(choose("#?queue=https://"), undefined);
  assert.equal(choose("#?queue=local")?.base, "http://localhost:8000");
  assert.equal(choose("#?queue=local", "http://127.0.0.1:9000")?.base, "http://127.0.0.1:9000");
});
