import { describe, expect, test } from "vitest";
import { Alignment, anchors, takeOf } from "./alignment";

const take = (paragraphs: string[]) => takeOf(paragraphs.join("\n\n"));
const align = (left: string[], right: string[]): Alignment => new Alignment(take(left), take(right));

const story = (name: string, paragraphs: number): string[] =>
  Array.from({ length: paragraphs }, (_, n) => `${name} ${n} `.repeat(4 + (n % 17)).trim());

const places = (paragraphs: number): number[] => Array.from({ length: 4 * paragraphs + 1 }, (_, n) => n / 4);

describe("anchors", () => {
  test("are equal paragraphs, the most that are in order", () => {
    const [a, b, c, d, e] = story("one", 5) as [string, string, string, string, string];
    expect(anchors(take([a, b, c, d, e]), take([a, "Something else", e, b, c, d]))).toEqual([[0, 0], [1, 3], [2, 4], [3, 5]]);
  });

  test("are not what any story says, nor what stands there twice", () => {
    const again = "And then he said it again.";
    expect(anchors(take(["No.", "* * *", again, again]), take(["No.", "* * *", again]))).toEqual([]);
    expect(anchors(take(["## Two"]), take(["Before it", "## Two"]))).toEqual([[0, 1]]);
  });
});

describe("an alignment", () => {
  test("of equal texts changes no place", () => {
    const text = [...story("one", 30), "* * *", "Yes.", ...story("two", 30), "* * *", "Yes."];
    const same = align(text, text);
    for (const place of places(text.length)) {
      expect(same.toRight(place)).toBeCloseTo(place, 6);
      expect(same.toLeft(place)).toBeCloseTo(place, 6);
    }
  });

  test("with a paragraph put in keeps what comes before and after side by side", () => {
    const left = story("one", 20);
    const right = left.toSpliced(8, 0, "A paragraph that the other text does not have, of some length.");
    const both = align(left, right);
    expect(both.toRight(5.5)).toBeCloseTo(5.5);
    expect(both.toRight(8.5)).toBeCloseTo(9.5);
    expect(both.toRight(15.3)).toBeCloseTo(16.3);
    expect(both.toLeft(16.3)).toBeCloseTo(15.3);
    // Through what only one has there is a way without a jump.
    const steps = Array.from({ length: 400 }, (_, n) => both.toRight(7 + n / 200));
    expect(Math.max(...steps.slice(1).map((step, n) => step - steps[n]!))).toBeLessThan(0.05);
  });

  test("of different texts shares the words out", () => {
    const left = Array.from({ length: 10 }, (_, n) => `left ${n} `.repeat(10));
    const right = Array.from({ length: 40 }, (_, n) => `right ${n} `.repeat(5));
    const both = align(left, right);
    expect(both.toRight(0)).toBe(0);
    expect(both.toRight(10)).toBe(40);
    expect(both.toRight(2.5)).toBeCloseTo(10);
    expect(both.toLeft(20)).toBeCloseTo(5);
  });

  test("goes there and back, and never backwards", () => {
    const left = story("one", 60);
    const right = [...story("other", 7), ...left.slice(10, 30), "* * *", ...story("end", 5), ...left.slice(2, 6)];
    const both = align(left, right);
    let last = -1;
    for (const place of places(left.length)) {
      const there = both.toRight(place);
      expect(there).toBeGreaterThanOrEqual(last);
      expect(both.toLeft(there)).toBeCloseTo(place, 6);
      last = there;
    }
  });

  test("with nothing is nothing", () => {
    const empty = align([], []);
    expect([empty.toRight(0), empty.toLeft(3)]).toEqual([0, 0]);
    const half = align([], story("one", 3));
    expect(half.toLeft(2)).toBe(0);
    expect(half.toRight(0)).toBeLessThanOrEqual(3);
  });

  test("of 400 paragraphs is there at once", () => {
    const paragraphs = story("one", 400);
    const left = take(paragraphs);
    const right = take(paragraphs.filter((_, n) => n % 3 > 0).flatMap((paragraph, n) => [paragraph, `Put in ${n}: ${"word ".repeat(20)}`]));
    const times = Array.from({ length: 5 }, () => {
      const start = performance.now();
      const both = new Alignment(left, right);
      for (const place of places(100)) both.toRight(place);
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(20); // the others may have waited for a processor, or for the compiler
  });
});

describe("a pin", () => {
  const left = story("one", 20);
  const right = story("other", 30);

  test("holds what the reader put side by side, and both ends", () => {
    const both = align(left, right);
    expect(both.pin(5, 20)).toBe(true);
    expect(both.toRight(5)).toBeCloseTo(20);
    expect(both.toRight(5.5)).toBeCloseTo(20 + (0.5 * left[5]!.split(" ").length) / right[20]!.split(" ").length); // word by word
    expect(both.toRight(0)).toBe(0);
    expect(both.toRight(20)).toBeCloseTo(30);
  });

  test("takes the place of the one before", () => {
    const both = align(left, right);
    both.pin(5, 20);
    both.pin(15, 20);
    expect(both.toRight(15)).toBeCloseTo(20);
    expect(both.toRight(5)).toBeLessThan(10);
  });

  test("gives way to what the texts have in common", () => {
    const both = align(left, [...left.slice(0, 10), ...right]);
    expect(both.pin(3, 8)).toBe(false);
    expect(both.toRight(3)).toBeCloseTo(3);
    expect(both.pin(14, 30)).toBe(true);
    expect(both.toRight(14)).toBeCloseTo(30);
    expect(both.toRight(3)).toBeCloseTo(3);
  });
});
