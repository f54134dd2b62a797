import assert from "node:assert/strict";
import { test } from "node:test";
import { pieces, plain } from "../src/ansi";
import { ApiError, type LogLine, type LogPage } from "../src/api";
import { LINES_MAX, LogReader, LogText } from "../src/log";

const shown = (text: LogText) => text.lines.map((line) => (line.stderr ? "!" : "") + line.text);

function textOf(...chunks: (string | [string])[]): string[] {
  const text = new LogText();
  for (const chunk of chunks) text.add(Array.isArray(chunk) ? [chunk[0], 0, true] : [chunk, 0]);
  return shown(text);
}

test("chunks become lines", () => {
  assert.deepEqual(textOf("a\nb", "c\n", "d\n"), ["a", "bc", "d"]);
  assert.deepEqual(textOf("a\r\n", "\n", "b"), ["a", "", "b"]);
  assert.deepEqual(textOf("out", ["err\n"], "more\n"), ["out", "!err", "more"]);
  assert.deepEqual(textOf("10%\r", "20%\r", "99%\rdone\n", "x"), ["done", "x"]);
  assert.deepEqual(textOf("10%\r"), ["10%\r"]);
});

test("a log without end keeps its newest lines", () => {
  const text = new LogText();
  for (let i = 0; i <= LINES_MAX; i++) text.add([`${i}\n`, 0]);
  assert.equal(text.lines.length + text.dropped, LINES_MAX + 1);
  assert.equal(text.lines.at(-1)!.text, String(LINES_MAX));
});

/** A grid whose log grows, and forgets. */
class Source {
  lines: LogLine[] = [];
  begins = 0;
  isFinal = false;
  asked: number[] = [];
  fails = 0;
  page = async (since: number): Promise<LogPage> => {
    this.asked.push(since);
    if (this.fails-- > 0) throw new Error("away");
    const from = Math.max(since, this.begins);
    return { data: this.lines.slice(from), sliceStart: from, nextCursor: this.lines.length, isFinal: this.isFinal };
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("however often it is poked, each line is read once", async () => {
  const source = new Source();
  const reader = new LogReader(source.page, () => undefined, new LogText());
  for (let i = 0; i < 5; i++) {
    source.lines.push([`${i}\n`, i]);
    for (let pokes = 0; pokes < 3; pokes++) reader.poke();
    if (i % 2) await settled();
  }
  source.isFinal = true;
  reader.poke();
  await settled();
  assert.deepEqual(shown(reader.text), ["0", "1", "2", "3", "4"]);
  const asked = source.asked.length;
  reader.poke();
  await settled();
  assert.equal(source.asked.length, asked, "a final log is not asked for again");
});

test("what the grid refuses is asked for again when there is news, and not before", async () => {
  let asked = 0;
  const waits: number[] = [];
  const page = async () => {
    asked++;
    throw new ApiError("no such job", 404);
  };
  const reader = new LogReader(page, () => undefined, new LogText(), (_, ms) => waits.push(ms));
  reader.poke();
  await settled();
  assert.deepEqual([asked, waits], [1, []]);
  reader.poke();
  await settled();
  assert.equal(asked, 2);
});

test("a break is waited out, and nothing is missed", async () => {
  const source = new Source();
  const waits: number[] = [];
  const reader = new LogReader(source.page, () => undefined, new LogText(), (call, ms) => { waits.push(ms); setImmediate(call); });
  source.lines = [["a\n", 0], ["b\n", 1]];
  source.fails = 3;
  reader.poke();
  for (let i = 0; i < 12; i++) await settled();
  assert.deepEqual(waits, [500, 1000, 2000]);
  assert.deepEqual(shown(reader.text), ["a", "b"]);
});

test("lines that the grid dropped are marked; a log that begins anew replaces the old", async () => {
  const source = new Source();
  const reader = new LogReader(source.page, () => undefined, new LogText());
  source.lines = [["a\n", 0], ["b\n", 1], ["c\n", 2]];
  source.begins = 2;
  reader.poke();
  for (let i = 0; i < 4; i++) await settled();
  assert.deepEqual(shown(reader.text), ["2 lines are not kept any more", "c"]);
  source.lines = [["new\n", 3]];
  source.begins = 0;
  reader.poke();
  for (let i = 0; i < 6; i++) await settled();
  assert.deepEqual(shown(reader.text), ["new"]);
});

test("colours become styles, and what steers a terminal is left out", () => {
  assert.deepEqual(pieces("a\x1b[1;31mb\x1b[0mc"), [
    { text: "a", style: "" }, { text: "b", style: "c1 b" }, { text: "c", style: "" },
  ]);
  assert.deepEqual(pieces("\x1b[38;5;2mg\x1b[39m\x1b[38;2;1;2;3mx"), [{ text: "g", style: "c2" }, { text: "x", style: "" }]);
  assert.equal(plain("\x1b]0;title\x07\x1b[2Ka\x1b[1Gb\x07"), "ab");
  assert.deepEqual(pieces(""), []);
});
