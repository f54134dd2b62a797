import assert from "node:assert/strict";
import { test } from "node:test";
import { notADuration, notANumber, notASize, notAnImage, type Check } from "../src/checks";

/** What the grid takes (`units.py`) or a registry knows is never called wrong. */
const CASES: [string, Check, string[], string[]][] = [
  ["numbers", notANumber, ["", " ", "2", "0.5", "1.", " 3 "], ["abc", "-1", "1,5", "2g"]],
  ["sizes", notASize, ["", "512m", "2g", "2 GiB", ".5t", "1024", "8kb"], ["lots", "2 gigs", "-1g", "g", "1e3"]],
  ["times", notADuration, ["", "90s", "1h30m", "1h30", "2 days", ".5h", "10 µs", "1e3ms"], ["soon", "10", "-5m", "90 000"]],
  ["images", notAnImage, [
    "", "alpine", "python:3.12-slim", "owner/name", "a__b/c-d.e:TAG_1", "registry.example:5000/a/b:1", "localhost/a", "Reg.Example/a",
    `alpine@sha256:${"0".repeat(64)}`, "alpine:3@sha256:00ff",
  ], ["Not An Image", "python:", "Python:3", "a//b", "a/", "alpine:3:4", "https://hub.example/a", "-a", "a b"]],
];

for (const [what, check, right, wrong] of CASES) {
  test(`wrong ${what} are told in a sentence, right ones are let be`, () => {
    for (const text of right) assert.equal(check(text), "", text);
    for (const text of wrong) assert.match(check(text), /^[A-Z].*\.$/, text);
  });
}

test("a bare number is no time that anybody means", () => assert.match(notADuration("10"), /milliseconds/));
