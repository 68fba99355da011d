import { describe, expect, test } from "vitest";
import { points } from "../shared/text";
import type { Chunk } from "./log";
import { type End, type Message, Reader } from "./reader";

const PIECES = ["Once", " there", " was 🌲", " and 𝔘", ".\n\nThen", " it", " ended."];

function log(pieces: string[] = PIECES): Chunk[] {
  let start = 0;
  return pieces.map((text, index) => {
    const chunk: Chunk = { type: "chunk", first: index + 1, seq: index + 1, channel: "story", start, text, words: 0 };
    start += points(text);
    return chunk;
  });
}

/** What the server answers to {after}: everything behind it, as one chunk. */
function merged(chunks: Chunk[], after: number): Chunk[] {
  const rest = chunks.slice(after);
  const [first, last] = [rest[0], rest.at(-1)];
  if (!first || !last) return [];
  return [{ ...first, seq: last.seq, text: rest.map((chunk) => chunk.text).join("") }];
}

const end = (chunks: Chunk[]): End => {
  const text = chunks.map((chunk) => chunk.text).join("");
  return { type: "end", state: "done", ending: "ended", last_seq: chunks.length, chars: points(text), sha256: "", words: 0 };
};

describe("a reader", () => {
  test("takes chunks in order", () => {
    const reader = new Reader();
    const shown = log().flatMap((chunk) => reader.apply(chunk)).map((effect) => (effect.do === "append" ? effect.text : "?"));
    expect(shown.join("")).toBe(PIECES.join(""));
    expect(reader.story.points).toBe(points(PIECES.join("")));
  });

  test("drops what it has", () => {
    const reader = new Reader();
    const [one] = log();
    reader.apply(one!);
    expect(reader.apply(one!)).toEqual([]);
    expect(reader.story.text).toBe("Once");
  });

  test("asks for a gap, once", () => {
    const reader = new Reader();
    const chunks = log();
    reader.apply(chunks[0]!);
    expect(reader.apply(chunks[2]!)).toEqual([{ do: "ask", after: 1 }]);
    expect(reader.apply(chunks[3]!)).toEqual([]);
    reader.apply(merged(chunks, 1)[0]!);
    expect(reader.story.text).toBe(PIECES.join(""));
  });

  test("asks again when the answer was lost", () => {
    const reader = new Reader();
    const asked = [1, 2, 3, 4].map(() => reader.apply({ type: "heartbeat", last_seq: 3 }).length);
    expect(asked).toEqual([1, 0, 1, 0]);
  });

  test("notices at a heartbeat, and at the end, that something is missing", () => {
    const reader = new Reader();
    reader.apply(log()[0]!);
    expect(reader.apply({ type: "heartbeat", last_seq: 2 })).toEqual([{ do: "ask", after: 1 }]);
    reader.connected();
    expect(reader.apply(end(log()))).toEqual([{ do: "ask", after: 1 }]);
  });

  test("begins again when an offset is wrong", () => {
    const reader = new Reader();
    const chunks = log();
    reader.apply(chunks[0]!);
    expect(reader.apply({ ...chunks[1]!, start: 3 })).toEqual([{ do: "ask", after: 0 }]);
    expect(reader.story.text).toBe("");
  });

  test("keeps the thinking apart", () => {
    const reader = new Reader();
    reader.apply({ type: "chunk", first: 1, seq: 4, channel: "thinking", start: 0, text: "A plan", words: 0 });
    reader.apply({ type: "chunk", first: 5, seq: 5, channel: "story", start: 0, text: "Once", words: 1 });
    expect([reader.thinking.text, reader.story.text]).toEqual(["A plan", "Once"]);
  });
});

/** Small and repeatable random numbers, so that a failing order can be run again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

test("any order, loss and repetition of messages ends with the whole text", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const next = random(seed);
    const chunks = log(Array.from({ length: 30 }, (_, index) => (index ? " " : "") + (next() < 0.2 ? "🌲" : `word${index}`)));
    const reader = new Reader();
    let shown = "";
    const wire: Message[] = [];
    for (const chunk of chunks) {
      if (next() < 0.8) wire.splice(Math.floor(next() * (wire.length + 1)), 0, chunk);
      if (next() < 0.2) wire.push(chunk);
    }
    let verified = false;
    const serve = (message: Message): void => {
      for (const effect of reader.apply(message)) {
        if (effect.do === "append") shown += effect.text;
        if (effect.do === "verify") verified = true;
        if (effect.do === "ask" && next() < 0.7) merged(chunks, effect.after).forEach(serve);
      }
    };
    wire.forEach(serve);
    for (let round = 0; round < 40 && !verified; round++) serve(end(chunks));
    expect(verified, `seed ${seed}`).toBe(true);
    expect(shown).toBe(chunks.map((chunk) => chunk.text).join(""));
  }
});
