import { expect, test } from "vitest";
import { Coverage, look, percent, warning } from "./coverage";

test("a paragraph is seen after the time that its words take", () => {
  const coverage = new Coverage([100, 50, 0, 50], []);
  expect(look([[coverage, [0]]], 5_000)).toBe(false);
  expect(coverage.ranges).toEqual([]);
  expect(look([[coverage, [0]]], 1_100)).toBe(true);
  expect(coverage.ranges).toEqual([[0, 1]]);
  expect(coverage.share).toBe(0.5);
});

test("what is on the screen at once shares the time, on both sides", () => {
  const [left, right] = [new Coverage([100, 100], []), new Coverage([200], [])];
  const both = [[left, [0]], [right, [0]]] as const;
  look(both, 17_900);
  expect([left.ranges, right.ranges]).toEqual([[], []]);
  look(both, 200);
  expect([left.ranges, right.ranges]).toEqual([[[0, 1]], [[0, 1]]]);
});

test("what was seen takes no time from the rest", () => {
  const coverage = new Coverage([100, 10], [[0, 1]]);
  look([[coverage, [0, 1]]], 700);
  expect(coverage.ranges).toEqual([[0, 2]]);
  expect(coverage.share).toBe(1);
});

test("scene breaks are seen at a glance", () => {
  const coverage = new Coverage([0, 10], []);
  expect(look([[coverage, [0]]], 10)).toBe(true);
  look([[coverage, [1]]], 10);
  expect(coverage.ranges).toEqual([[0, 1]]);
});

test("ranges that were stored are seen, and nothing beyond the text", () => {
  const coverage = new Coverage([1, 1, 1, 1], [[0, 2], [3, 90]]);
  expect(coverage.ranges).toEqual([[0, 2], [3, 4]]);
  expect(new Coverage([], []).share).toBe(1);
});

test("in words", () => {
  expect(warning(0.2, 0.6)).toBe("You have read 20 % of the left.");
  expect(warning(0, 0.004)).toBe("You have read 0 % of the left and 1 % of the right.");
  expect(warning(0.9, 1)).toBe("");
  expect([percent(0), percent(0.996), percent(1)]).toEqual(["0 %", "99 %", "100 %"]);
});
