import { describe, expect, test } from "vitest";
import { countWords, emphases, indexOfPoint, joinParagraphs, kindOf, paragraphs, points, storable } from "./text";

describe("words", () => {
  test.each([
    ["The lamp-lighter didn't wait.", 5],
    ["孔乙己 is a story", 6],
    ["", 0],
    ["  — * * * …", 0],
    ["l’été naïve cafe\u0301", 3],
    ["'quoted' and ''doubled''", 3],
    ["3,000 words", 3],
    ["𝔘𝔫𝔦𝔠𝔬𝔡𝔢 and 🌲 trees", 3],
    ["ひらがなABC", 5],
  ])("%s", (text, words) => expect(countWords(text)).toBe(words));
});

describe("paragraphs", () => {
  test("are parted by blank lines, however many", () => {
    expect(paragraphs("\n\none\ntwo\n\n\n \nthree\n")).toEqual(["one\ntwo", "three"]);
  });

  test("come back as they were", () => {
    const text = "## One\n\nA *quiet* line\nbroken.\n\n* * *\n\n🌲 end";
    expect(joinParagraphs(paragraphs(text))).toBe(text);
  });

  test("know what they are", () => {
    expect(["## One", "* * *", "*so*", "##One"].map(kindOf)).toEqual(["heading", "break", "paragraph", "paragraph"]);
  });
});

describe("emphasis", () => {
  test.each([
    ["a *quiet* line", ["*quiet*"]],
    ["*all of it*", ["*all of it*"]],
    ["2 * 3 * 4", []],
    ["* * *", []],
    ["**loud** and *soft*, *so*", ["*soft*", "*so*"]],
    ["file*name*here", []],
  ])("%s", (text, found) => expect(emphases(text).map(({ from, to }) => text.slice(from, to))).toEqual(found));
});

describe("offsets", () => {
  const text = "a🌲b𝔘c";
  test("count code points", () => expect(points(text)).toBe(5));
  test("find the unit of a point", () => expect([0, 1, 2, 3, 4, 5, 9].map((at) => indexOfPoint(text, at))).toEqual([0, 1, 3, 4, 6, 7, 7]));
  test("count a lone surrogate as one", () => expect(points("\ud800a\udc00")).toBe(3));
});

test("what the server does not keep is left out", () => {
  expect(storable("a\0b\ud800c🌲\r\nd\u0085e\u0086f\tg")).toBe("ab\ufffdc🌲\nd\nef\tg");
});
