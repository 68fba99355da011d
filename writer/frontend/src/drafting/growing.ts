/**
 * The end of the text, while a model writes it: what has come is appended, and the paragraph that grows is not the
 * writer's to change until it is finished.
 *
 * `shown` says up to where the document shows the log (in code points, as everywhere). `growing` is the last paragraph
 * while it is unfinished: its part of the log begins at `from`, and its first `head` characters (UTF-16) were there
 * before the log, which happens when a writer paused in the middle of a paragraph and changed something.
 */

import type { Node } from "prosemirror-model";
import { type EditorState, Plugin, PluginKey, TextSelection, type Transaction } from "prosemirror-state";
import { Decoration, DecorationSet } from "prosemirror-view";
import { points } from "../shared/text";
import { paragraphNode, textOf } from "./manuscript";

export interface Growth {
  readonly live: boolean;
  readonly shown: number;
  readonly growing: { readonly from: number; readonly head: number } | null;
  /** Blanks at the end of what has come, held back until it is known whether a paragraph ends with them. */
  readonly held: string;
}

export const growth = new PluginKey<Growth>("growth");

export function growthPlugin(absorbed: number): Plugin<Growth> {
  return new Plugin<Growth>({
    key: growth,
    state: {
      init: () => ({ live: false, shown: absorbed, growing: null, held: "" }),
      apply(tr, before) {
        const next = tr.getMeta(growth) as Growth | undefined;
        if (next) return next;
        // At rest the whole text is the writer's: after a change there is no telling what of it is the model's.
        return tr.docChanged && !before.live && before.growing ? { ...before, growing: null } : before;
      },
    },
    filterTransaction(tr, state) {
      const now = growth.getState(state)!;
      if (!tr.docChanged || !now.live || !now.growing || tr.getMeta(growth)) return true;
      return staysBefore(tr, startOfLast(state.doc));
    },
    props: {
      decorations(state) {
        const now = growth.getState(state)!;
        if (!now.live || !now.growing) return null;
        const from = startOfLast(state.doc);
        const attributes = { class: "growing", contenteditable: "false" };
        return DecorationSet.create(state.doc, [Decoration.node(from, state.doc.content.size, attributes)]);
      },
    },
  });
}

/** Append what the log brought next. Touches the last paragraph only, and neither the selection nor the undo history. */
export function append(state: EditorState, text: string): Transaction {
  const { live, shown, growing: before, held } = growth.getState(state)!;
  const whole = held + text;
  const piece = whole.trimEnd();
  const tr = state.tr;
  let growing = before;
  let at = 0; // index in `piece` up to which it was taken
  for (const gap of [...piece.matchAll(/\n[^\S\n]*\n\s*|$/g)]) {
    const part = piece.slice(at, gap.index);
    if (part) {
      const last = tr.doc.lastChild as Node;
      growing ??= { from: shown + points(piece.slice(0, at)), head: last.content.size };
      tr.insertText(part, tr.doc.content.size - 1);
    }
    if (!gap[0]) break;
    at = gap.index + gap[0].length;
    const from = shown + points(piece.slice(0, gap.index));
    if ((tr.doc.lastChild as Node).content.size > 0) tr.insert(tr.doc.content.size, paragraphNode(""));
    growing = { from, head: 0 };
  }
  // A caret at the very end stays where it is, instead of being pushed along.
  const { selection } = state;
  if (selection instanceof TextSelection) tr.setSelection(TextSelection.create(tr.doc, selection.anchor, selection.head));
  const next: Growth = { live, shown: shown + points(piece), growing, held: whole.slice(piece.length) };
  return tr.setMeta(growth, next).setMeta("addToHistory", false);
}

export function setLive(state: EditorState, live: boolean): Transaction {
  return state.tr.setMeta(growth, { ...growth.getState(state)!, live }).setMeta("addToHistory", false);
}

/** Begin again at `shown` of the log, behind a text that holds everything before it. */
export function placedAt(tr: Transaction, shown: number, live: boolean): Transaction {
  return tr.setMeta(growth, { live, shown, growing: null, held: "" } satisfies Growth).setMeta("addToHistory", false);
}

export interface Savable {
  text: string;
  absorbed: number;
}

/** What may be saved now: everything at rest, the finished paragraphs while the last one grows. */
export function savable(state: EditorState): Savable {
  const { live, shown, growing } = growth.getState(state)!;
  if (!live || !growing) return { text: textOf(state.doc), absorbed: shown };
  const last = (state.doc.lastChild as Node).textContent;
  return { text: textOf(state.doc, last.slice(0, growing.head)), absorbed: growing.from };
}

function startOfLast(doc: Node): number {
  return doc.content.size - (doc.lastChild as Node).nodeSize;
}

function staysBefore(tr: Transaction, limit: number): boolean {
  return tr.steps.every((step, index) => {
    const here = tr.mapping.slice(0, index).map(limit);
    let before = true;
    step.getMap().forEach((_start, end) => {
      if (end > here) before = false;
    });
    return before;
  });
}
