import { describe, expect, test } from "vitest";
import { points } from "../shared/text";
import { Blocks } from "./blocks";

const TEXT = ["## 𝔘ne", "a🌲b👩‍🚀c e\u0301 🌊", "* * *", "孔乙己 𠮷野家", "שלום, 🌍!", "plain"].join("\n\n");

describe("blocks", () => {
  const blocks = new Blocks(TEXT);

  test("are the paragraphs", () => {
    expect(blocks.all.length).toBe(6);
    expect(blocks.all.map((_, index) => TEXT.slice(blocks.startOf(index), blocks.endOf(index)))).toEqual(blocks.all);
  });

  test("count as the server does, at every place", () => {
    for (let unit = 0; unit <= TEXT.length; unit++) {
      if (/[\udc00-\udfff]/.test(TEXT[unit] ?? "")) continue; // inside a character
      const point = points(TEXT.slice(0, unit));
      expect([unit, blocks.toPoint(unit)]).toEqual([unit, point]);
      expect([point, blocks.toUnit(point)]).toEqual([point, unit]);
    }
  });

  test("an offset behind the end is the end", () => {
    expect(blocks.toUnit(10_000)).toBe(TEXT.length);
    expect(new Blocks("🌲").toUnit(9)).toBe(2);
  });

  test("know where a place is, the blank line behind a paragraph included", () => {
    expect([0, blocks.endOf(0), blocks.endOf(0) + 1, blocks.startOf(1), TEXT.length].map((unit) => blocks.at(unit))).toEqual([0, 0, 0, 1, 5]);
  });

  test("take the blanks away around words", () => {
    const at = TEXT.indexOf("e\u0301");
    expect(blocks.trimmed({ start: at - 1, end: at + 3 })).toEqual({ start: at, end: at + 2 });
    expect(blocks.trimmed({ start: blocks.endOf(0), end: blocks.startOf(1) })).toBeNull();
  });

  test("are quick in a long text full of wide characters", () => {
    const long = new Blocks(Array.from({ length: 300 }, () => "🌲 tree ".repeat(60)).join("\n\n"));
    const began = performance.now();
    for (let i = 0; i < 100_000; i++) long.toUnit(long.toPoint((i * 7) % long.text.length));
    expect(performance.now() - began).toBeLessThan(1_000);
  });
});
