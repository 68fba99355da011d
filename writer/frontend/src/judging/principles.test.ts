import { describe, expect, test } from "vitest";
import { type Principle, Principles } from "./principles";

const principle = (version: number, key: string, name: string, explanation: string): Principle => ({ version, key, name, number: 1, explanation, examples: [] });
const palette = new Principles([
  principle(1, "choice-has-a-price", "A choice costs something", "A rescue by luck is not a turning point."),
  principle(2, "no-moral", "End without a moral", "Trust the reader; a particular lesson is not needed."),
  principle(3, "particular-thing", "The particular thing", "Name the thing that is there."),
  principle(4, "somebodys-present", "The past was somebody's present", "Études of dress are not a past."),
]);
const names = (query: string, recent: string[] = []) => palette.found(query, recent).map(({ name }) => name);

describe("a palette", () => {
  test("has all of them, those used last first", () => {
    expect(names("").length).toBe(4);
    expect(names("", ["no-moral", "particular-thing"]).slice(0, 2)).toEqual(["End without a moral", "The particular thing"]);
    expect(names("  ")).toEqual(names(""));
  });

  test("finds by name before explanation", () => expect(names("par")).toEqual(["The particular thing", "End without a moral"]));
  test("finds by the key", () => expect(names("price")).toEqual(["A choice costs something"]));
  test("finds inside a word, after those that begin so", () => expect(names("oral")).toEqual(["End without a moral"]));
  test("wants every word", () => expect([names("thing part"), names("thing zebra")]).toEqual([["The particular thing"], []]));
  test("knows no accents, no capitals and no curved apostrophe", () => {
    expect([names("ETUDES"), names("somebody’s")]).toEqual([["The past was somebody's present"], ["The past was somebody's present"]]);
  });
  test("has no patterns in it", () => expect(names(".*")).toEqual([]));
});
