import { describe, expect, test } from "vitest";
import type { Act, Unsent } from "./acts";
import { type Mark, Passages } from "./passages";

const mark = (id: string, start: number, severity = 2): Mark => ({ id, start, end: start + 5, quote: "words", version: 1, principle: "One", severity, note: "", better: "" });
const act = (kind: string, id: string, more: object = {}): Act => ({ kind, id, version: 2, severity: 3, note: "n", better: "", ...more });
const done = (what: Act, undone = false, before?: unknown): Unsent => ({ op_id: "o", act: what, page: "/", label: "", before, undone });
const made = (id: string, start: number) => act("mark", id, { take: 7, start, end: start + 5, quote: "words" });

function passages(...marks: Mark[]) {
  return new Passages(marks, [{ version: 1, name: "One" }, { version: 2, name: "Two" }], 7);
}
const shown = (of: Passages): string => of.all.map(({ id, principle, severity }) => `${id} ${principle} ${severity}`).join(", ");

describe("the marks on a page", () => {
  test("stand in the order of the text", () => {
    const all = passages(mark("b", 9), mark("a", 3));
    all.apply(done(made("c", 5)));
    expect(shown(all)).toBe("a One 2, c Two 3, b One 2");
  });

  test("are changed, taken away, and put back as they were", () => {
    const all = passages(mark("a", 3));
    const before = { take: 7, mark: mark("a", 3) };
    all.apply(done(act("remark", "a")));
    expect(shown(all)).toBe("a Two 3");
    all.revert(done(act("remark", "a"), true, before));
    expect(shown(all)).toBe("a One 2");
    all.apply(done({ kind: "unmark", id: "a" }));
    expect(shown(all)).toBe("");
    all.revert(done({ kind: "unmark", id: "a" }, true, before));
    expect(shown(all)).toBe("a One 2");
  });

  test("of another text are left alone", () => {
    const all = passages();
    all.apply(done(act("mark", "x", { take: 8, start: 1, end: 2, quote: "w" })));
    all.revert(done({ kind: "unmark", id: "x" }, true, { take: 8, mark: mark("x", 1) }));
    expect(shown(all)).toBe("");
  });

  test("show what the server has not heard yet, however often it is told", () => {
    const all = passages(mark("a", 3));
    const unsent = [done(made("b", 9)), done(act("remark", "b", { version: 1 })), done({ kind: "unmark", id: "a" }), done(made("c", 1), true)];
    for (const known of [[mark("a", 3)], [mark("a", 3), mark("b", 9)], [mark("b", 9), mark("c", 1)]]) {
      all.reset(known, unsent);
      expect(shown(all)).toBe("b One 3");
    }
  });
});
