import { EditorState, TextSelection } from "prosemirror-state";
import { history, undo } from "prosemirror-history";
import { describe, expect, test } from "vitest";
import { indexOfPoint, points } from "../shared/text";
import { append, growth, growthPlugin, savable, setLive } from "./growing";
import { join } from "./log";
import { documentOf, paragraphNode, textOf } from "./manuscript";

function page(text = "", absorbed = 0): EditorState {
  const state = EditorState.create({ doc: documentOf(text), plugins: [growthPlugin(absorbed), history()] });
  return state.apply(setLive(state, true));
}

const grow = (state: EditorState, ...pieces: string[]): EditorState => pieces.reduce((now, piece) => now.apply(append(now, piece)), state);
const type = (state: EditorState, text: string, at: number): EditorState => state.apply(state.tr.insertText(text, at));

describe("the growing end", () => {
  test("shows the log as it comes", () => {
    const pieces = ["Once", " there 🌲", " was.", "\n\nThen", " it\nended.", "\n\n* * *", "\n\nNo."];
    expect(textOf(grow(page(), ...pieces).doc)).toBe(pieces.join(""));
  });

  test("goes on behind a text", () => {
    expect(textOf(grow(page("One."), "\n\nTwo", " more").doc)).toBe("One.\n\nTwo more");
    expect(textOf(grow(page("One", 3), " and", " more").doc)).toBe("One and more");
  });

  test("holds back blanks until it is known what they are", () => {
    const state = grow(page(), "One. \n", "\nTwo");
    expect(textOf(state.doc)).toBe("One. \n\nTwo");
    expect(growth.getState(state)!.shown).toBe(10);
  });

  test("is not saved before its paragraph is finished", () => {
    const state = grow(page(), "O🌲e.", "\n\nTwo");
    expect(savable(state)).toEqual({ text: "O🌲e.", absorbed: 4 });
    expect(savable(grow(state, " more.", "\n\nThree"))).toEqual({ text: "O🌲e.\n\nTwo more.", absorbed: 15 });
  });

  test("is saved whole at rest", () => {
    const state = grow(page(), "One.", "\n\nTwo");
    expect(savable(state.apply(setLive(state, false)))).toEqual({ text: "One.\n\nTwo", absorbed: 9 });
  });

  test("keeps what stood before the log in its paragraph", () => {
    const state = grow(page("One, changed", 3), " and more");
    expect(savable(state)).toEqual({ text: "One, changed", absorbed: 3 });
  });

  test("cannot be changed, the paragraphs before it can", () => {
    const state = grow(page(), "One.", "\n\nTwo");
    expect(textOf(type(state, "X", state.doc.content.size - 1).doc)).toBe("One.\n\nTwo");
    expect(textOf(state.apply(state.tr.delete(3, 8)).doc)).toBe("One.\n\nTwo");
    expect(textOf(state.apply(state.tr.insert(state.doc.content.size, paragraphNode("X"))).doc)).toBe("One.\n\nTwo");
    expect(textOf(type(state, "X", 5).doc)).toBe("One.X\n\nTwo");
    expect(textOf(state.apply(state.tr.insert(6, paragraphNode("X"))).doc)).toBe("One.\n\nX\n\nTwo");
  });

  test("moves no caret", () => {
    let state = page("One", 3);
    state = state.apply(state.tr.setSelection(TextSelection.create(state.doc, 4)));
    expect(grow(state, " and", "\n\nmore").selection.head).toBe(4);
  });

  test("is not undone with what the writer did", () => {
    let state = grow(page(), "One.", "\n\nTwo");
    state = grow(type(state, "!", 5), " more");
    undo(state, (tr) => (state = state.apply(tr)));
    expect(textOf(state.doc)).toBe("One.\n\nTwo more");
  });
});

/** Whatever is typed and saved in between: what is saved, with the log behind it, is what the page shows. */
test("the saved text and the log behind it are the text on the page", () => {
  let seed = 7;
  const next = (below: number): number => (seed = (seed * 1664525 + 1013904223) % 2 ** 32) % below;
  for (let round = 0; round < 200; round++) {
    let state = page();
    let log = "";
    for (let step = 0; step < 40; step++) {
      if (next(3) > 0) {
        const piece = (log ? [" ", " ", "\n\n", "\n"][next(4)] : "") + ["wave", "🌊", "*so*", "## x", "* * *"][next(5)]!;
        log += piece;
        state = grow(state, piece);
      } else {
        const at = 1 + next(Math.max(1, state.doc.content.size - 1));
        const typed = ["a", "𝄞", ...(textOf(state.doc) ? [" ", "\u00a0", "\u3000"] : [])]; // a page of blanks is an empty one
        if (state.doc.resolve(at).parent.isTextblock) state = type(state, typed[next(typed.length)]!, at);
      }
      if (next(15) === 0) state = state.apply(setLive(state, !growth.getState(state)!.live));
      const { live } = growth.getState(state)!;
      const saved = savable(state);
      expect(saved.absorbed).toBeLessThanOrEqual(points(log));
      const tail = log.slice(indexOfPoint(log, saved.absorbed));
      expect(join(saved.text, tail)).toBe(textOf(state.doc));
      if (live && tail) expect(tail.startsWith("\n\n") || saved.absorbed === 0 || growth.getState(state)!.growing?.head).toBeTruthy();
    }
  }
});
