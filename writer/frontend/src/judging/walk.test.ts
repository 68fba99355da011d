import { describe, expect, test } from "vitest";
import { Blocks } from "./blocks";
import { type Course, spanOf, type Unit, Walk } from "./walk";

const TEXT = "One two. Three, don’t!\n\n* * *\n\n我们 walks 🌊 on.\n\nEnd.";
const walk = new Walk(new Blocks(TEXT));
const shown = (course: Course): string => {
  const { start, end } = spanOf(course);
  return TEXT.slice(start, end);
};

function words(by: Unit, forward: boolean, from: Course, count: number): string[] {
  const found = [];
  for (let i = 0; i < count; i++) {
    const { start, end } = walk.go(from, by, forward);
    found.push(TEXT.slice(start, end));
    from = { base: start, head: end };
  }
  return found;
}

describe("the cursor", () => {
  test("goes by word, over paragraphs, scene breaks and scripts", () => {
    expect(words("word", true, { base: 0, head: 3 }, 9)).toEqual(["two", "Three", "don’t", "* * *", "我们", "walks", "🌊", "on", "End"]);
  });

  test("comes back the same way, and stays at the ends", () => {
    const end = TEXT.length;
    expect(words("word", false, { base: end - 4, head: end - 1 }, 10)).toEqual(["on", "🌊", "walks", "我们", "* * *", "don’t", "Three", "two", "One", "One"]);
    expect(words("word", true, { base: end - 4, head: end - 1 }, 2)).toEqual(["End", "End"]);
  });

  test("starts at the word where it was put", () => {
    expect(words("word", true, { base: 0, head: 0 }, 1)).toEqual(["One"]);
    expect(TEXT.slice(...Object.values(walk.wordAt(5)) as [number, number])).toBe("two");
  });

  test("goes by sentence and by paragraph", () => {
    expect(words("sentence", true, { base: 0, head: 3 }, 4)).toEqual(["Three", "* * *", "我们", "End"]);
    expect(words("sentence", false, { base: 16, head: 21 }, 2)).toEqual(["Three", "One"]);
    expect(words("paragraph", true, { base: 0, head: 3 }, 3)).toEqual(["* * *", "我们", "End"]);
    expect(words("paragraph", false, { base: 16, head: 21 }, 1)).toEqual(["One"]);
  });
});

describe("the selection", () => {
  const run = (course: Course, ...steps: [Unit, boolean][]): string[] =>
    steps.map(([by, forward]) => shown((course = walk.grow(course, by, forward))));
  const two = { base: 4, head: 7 };

  test("grows by word and is taken back", () => {
    const [on, back]: [Unit, boolean][] = [["word", true], ["word", false]];
    expect(run(two, on!, on!, back!, back!)).toEqual(["two. Three", "two. Three, don’t", "two. Three", "two"]);
  });

  test("turns round at the word that it began with", () => {
    expect(run(two, ["word", false], ["word", true], ["word", true])).toEqual(["One two", "two", "two. Three"]);
  });

  test("grows by sentence to its end, with its stop", () => {
    expect(run({ base: 0, head: 3 }, ["sentence", true], ["sentence", true], ["sentence", false])).toEqual([
      "One two.",
      "One two. Three, don’t!",
      "One two.",
    ]);
    expect(run({ base: 9, head: 14 }, ["sentence", false])).toEqual(["One two. Three"]);
  });

  test("of a mouse, that begins inside a word, goes on from there", () => {
    expect(run({ base: 5, head: 7 }, ["word", true])).toEqual(["two. Three"]);
  });

  test("stays at the ends of the text", () => {
    expect(run({ base: 0, head: 3 }, ["word", false], ["word", false])).toEqual(["One", "One"]);
    expect(run({ base: TEXT.length - 4, head: TEXT.length - 1 }, ["word", true])).toEqual(["End"]);
  });
});
