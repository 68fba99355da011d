import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { points, storable } from "../shared/text";
import { type Chunk, join, sha256, tailOf } from "./log";
import { Reader } from "./reader";

interface Examples {
  blanks: string[];
  other_white_space: string[];
  join: { what: string; head: string; tail: string; text: string }[];
  line_ends: { text: string; plain: string }[];
  chunk: { message: Chunk; json: string };
}

/** What the server answers too (test_log.py). */
const examples = JSON.parse(readFileSync(new URL("../../../../tests/writer/stories/log.json", import.meta.url), "utf8")) as Examples;

describe("join", () => {
  test.each(examples.join)("$what", ({ head, tail, text }) => expect(join(head, tail)).toBe(text));

  test("takes only blanks away", () => {
    for (const other of examples.other_white_space) {
      for (const head of [other, `One.${other}`, `One.\n${other}`]) expect(join(head, "\n\nTwo.")).toBe(`${head}\n\nTwo.`);
      expect(join("", `${other}\nTwo.`)).toBe(`${other}\nTwo.`);
    }
  });
});

describe("the tail is found", () => {
  test.each(examples.join.filter(({ head }) => /[^ \t\n]/.test(head)))("$what", ({ tail, text }) => expect(tailOf(text, points(tail))).toBe(tail));
  test("behind a head", () => expect(tailOf("One.\n\nTwo", 5)).toBe("\n\nTwo"));
  test("without one", () => expect(tailOf("Two", 3)).toBe("Two"));
  test("where its blank line was left out", () => expect(tailOf("Two", 5)).toBe("\n\nTwo"));
  test("where there is none", () => expect(tailOf("One. ", 0)).toBe(""));
});

test.each(examples.line_ends)("what separates words does not vanish: $text", ({ text, plain }) => expect(storable(text)).toBe(plain));

test("a chunk is read as the server writes it", () => {
  const { message, json } = examples.chunk;
  const chunk = JSON.parse(json) as Chunk;
  expect(chunk).toEqual(message);
  const reader = new Reader();
  reader.apply({ ...chunk, first: 1, seq: chunk.first - 1, start: 0, text: "🌲".repeat(chunk.start) });
  expect(reader.apply(chunk)).toEqual([{ do: "append", channel: chunk.channel, text: chunk.text }]);
  expect(reader.seq).toBe(chunk.seq);
});

test("sha256 is of the UTF-8", async () => {
  expect(await sha256("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});
