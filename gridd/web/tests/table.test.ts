import assert from "node:assert/strict";
import { test } from "node:test";
import { hexLines, isBinary, kindOf } from "../src/kinds";
import { drawn, firstChoice } from "../src/plotting";
import { numericColumns, tableOfJson, tableOfText } from "../src/table";

test("quoted cells hold anything", () => {
  const table = tableOfText('a,b\r\n"x,""y""\nz",1\r\n', "csv", false);
  assert.deepEqual(table, { head: ["a", "b"], rows: [['x,"y"\nz', "1"]] });
});

test("a cut table has no half row, and a first row of numbers is no head", () => {
  assert.deepEqual(tableOfText("t,v\n1,2\n3,4", "csv", true).rows, [["1", "2"]]);
  assert.deepEqual(tableOfText("1,2\n3,4\n", "csv", false), { head: ["column 1", "column 2"], rows: [["1", "2"], ["3", "4"]] });
  assert.deepEqual(tableOfText("a;b\n1;2\n", "csv", false).head, ["a", "b"]);
  assert.deepEqual(tableOfText("", "csv", false), { head: [], rows: [] });
  assert.deepEqual(tableOfText("a,b\n1,2,3\n", "csv", false).head, ["a", "b", "column 3"]);
});

test("JSON in columns, in rows and in lists is a table", () => {
  assert.deepEqual(tableOfJson({ x: [1, 2], y: [3, null] }), { head: ["x", "y"], rows: [["1", "3"], ["2", ""]] });
  assert.deepEqual(tableOfJson([{ x: 1 }, { y: "b" }]), { head: ["x", "y"], rows: [["1", ""], ["", "b"]] });
  assert.deepEqual(tableOfJson([[1, 2], [3, 4]])!.head, ["column 1", "column 2"]);
  for (const other of [{ best: 1 }, { x: [1], y: [1, 2] }, [{ x: { deep: 1 } }], [], {}, "x", null]) assert.equal(tableOfJson(other), undefined);
});

test("a column of numbers may have gaps, and one word makes it none", () => {
  const table = tableOfText("a,b,c,d\n1,x,nan,\n-2.5e3,2,,\n", "csv", false);
  assert.deepEqual(numericColumns(table), [true, false, false, false]);
  assert.deepEqual(numericColumns(tableOfText("a\n1\nNaN\ninf\n", "csv", false)), [true]);
});

test("gaps stay gaps, and what is out of order is put in order", () => {
  const table = tableOfText("x,y\n3,30\n1,\n2,20\n,5\n", "csv", false);
  assert.deepEqual(drawn(table, 0, [1]), { x: [1, 2, 3], ys: [[null, 20, 30]], isOrdered: false, rows: 3, isThinned: false });
  assert.deepEqual(drawn(table, -1, [1]).x, [1, 2, 3, 4]);
});

test("thinned, the peaks stay and the points are few", () => {
  const rows = Array.from({ length: 50_000 }, (_, at) => [String(at), at === 31_234 ? "1000" : String(at % 7), String(-at)]);
  const thin = drawn({ head: ["x", "y", "z"], rows }, 0, [1, 2], 400);
  assert.ok(thin.isThinned && thin.rows === 50_000);
  assert.ok(thin.x.length <= 400 && thin.x.length > 100);
  assert.ok(thin.ys[0]!.includes(1000));
  assert.deepEqual([...thin.x].sort((a, b) => a - b), thin.x);
});

test("the first choice of columns", () => {
  const choice = (text: string) => {
    const table = tableOfText(text, "csv", false);
    return firstChoice(table, numericColumns(table));
  };
  assert.deepEqual(choice("step,loss,name\n1,5,a\n2,4,b\n"), { x: 0, ys: [1] });
  assert.deepEqual(choice("a,b\n2,5\n1,4\n"), { x: -1, ys: [0, 1] });
  assert.deepEqual(choice("name\na\n"), { x: -1, ys: [] });
});

test("files are called what people call them", () => {
  assert.equal(kindOf("plots/curve.SVG").label, "SVG drawing");
  assert.equal(kindOf("Makefile").label, "file");
  assert.equal(kindOf(".hidden").label, "file");
  assert.equal(kindOf("a.xyz1").label, "XYZ1 file");
});

test("bytes are told from text", () => {
  assert.ok(isBinary(new Uint8Array([80, 75, 3, 4, 0])));
  assert.ok(!isBinary(new TextEncoder().encode("grüße")));
  assert.equal(hexLines(new TextEncoder().encode("gridd 0123456789!")), [
    "000000  67 72 69 64 64 20 30 31  32 33 34 35 36 37 38 39  gridd 0123456789",
    `000010  21${" ".repeat(46)}  !`,
  ].join("\n"));
});
