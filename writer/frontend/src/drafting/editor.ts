/** The page that is written on: ProseMirror over the manuscript, with the growing end that the model writes. */

import { baseKeymap } from "prosemirror-commands";
import { history, redo, undo } from "prosemirror-history";
import { keymap } from "prosemirror-keymap";
import { DOMParser as DocumentParser, Fragment, Slice } from "prosemirror-model";
import { type Command, EditorState, TextSelection, type Transaction } from "prosemirror-state";
import { EditorView } from "prosemirror-view";
import { indexOfPoint, paragraphs, storable } from "../shared/text";
import { append, growth, growthPlugin, placedAt, savable, type Savable, setLive } from "./growing";
import { documentOf, paragraphNode, schema, textOf, wordsOf } from "./manuscript";
import { marksPlugin } from "./marks";

export interface Opening {
  text: string;
  absorbed: number;
  tail: string;
}

export interface EditorEvents {
  /** The writer changed something. */
  changed(): void;
  /** Save now, if there is something to save. */
  save(): void;
  blurred(): void;
}

export class Editor {
  readonly view: EditorView;

  constructor(place: HTMLElement, opening: Opening, events: EditorEvents) {
    const state = EditorState.create({
      doc: documentOf(opening.text),
      plugins: [
        growthPlugin(opening.absorbed),
        marksPlugin(),
        history(),
        keymap({ "Mod-z": undo, "Mod-y": redo, "Shift-Mod-z": redo, "Shift-Enter": breakLine, "Mod-i": emphasize, "Mod-s": saveBy(events) }),
        keymap(baseKeymap),
      ],
    });
    this.view = new EditorView(place, {
      state: opening.tail ? state.apply(append(state, opening.tail)) : state,
      attributes: { "aria-label": "The story", "aria-multiline": "true", role: "textbox", spellcheck: "true", class: "prose" },
      dispatchTransaction: (tr: Transaction) => {
        this.view.updateState(this.view.state.apply(tr));
        if (tr.docChanged && !tr.getMeta(growth)) events.changed();
      },
      clipboardTextParser: (text) => new Slice(Fragment.from(paragraphs(storable(text)).map(paragraphNode)), 1, 1),
      transformPastedHTML: asPlainMarks,
      handleDOMEvents: { blur: () => events.blurred() },
    });
  }

  /** Show what the log holds from `start` on, as far as it is not shown yet. */
  show(text: string, start: number): void {
    const { shown, held } = growth.getState(this.view.state)!;
    const known = shown + held.length - start;
    const fresh = known > 0 ? text.slice(indexOfPoint(text, known)) : text;
    if (!fresh || known < 0) return;
    this.#takeCaret();
    this.view.dispatch(append(this.view.state, fresh));
  }

  /**
   * The browser tells of a moved caret a moment after it moved. An append in that moment would draw the caret where it
   * was before, so what the browser shows is taken over first.
   */
  #takeCaret(): void {
    const { view } = this;
    const shown = getSelection();
    if (!shown?.anchorNode || !shown.focusNode || !view.hasFocus() || view.composing) return;
    if (!(view.state.selection instanceof TextSelection) || !view.dom.contains(shown.anchorNode) || !view.dom.contains(shown.focusNode)) return;
    const { doc, selection, tr } = view.state;
    const [anchor, head] = [view.posAtDOM(shown.anchorNode, shown.anchorOffset), view.posAtDOM(shown.focusNode, shown.focusOffset)];
    if (anchor < 0 || head < 0 || (anchor === selection.anchor && head === selection.head)) return;
    view.dispatch(tr.setSelection(TextSelection.between(doc.resolve(anchor), doc.resolve(head))));
  }

  set live(live: boolean) {
    if (live !== growth.getState(this.view.state)!.live) this.view.dispatch(setLive(this.view.state, live));
  }

  get live(): boolean {
    return growth.getState(this.view.state)!.live;
  }

  get words(): number {
    return wordsOf(this.view.state.doc);
  }

  /** The whole text, the growing paragraph included. */
  get text(): string {
    return textOf(this.view.state.doc);
  }

  get savable(): Savable {
    return savable(this.view.state);
  }

  /** Replace the text by another one, touching only the paragraphs in which they differ. */
  replace({ text, absorbed, tail }: Opening): void {
    const { doc } = this.view.state;
    const next = documentOf(text);
    const { state } = this.view;
    const start = doc.content.findDiffStart(next.content);
    const tr = state.tr;
    if (start !== null) {
      const end = doc.content.findDiffEnd(next.content)!;
      const overlap = start - Math.min(end.a, end.b);
      const more = overlap > 0 ? overlap : 0;
      tr.replace(start, end.a + more, next.slice(start, end.b + more));
    }
    this.view.dispatch(placedAt(tr, absorbed, growth.getState(state)!.live));
    if (tail) this.view.dispatch(append(this.view.state, tail));
  }

  focus(): void {
    this.view.focus();
  }
}

/** A line break inside a paragraph: verse, letters, addresses. */
const breakLine: Command = (state, dispatch) => {
  dispatch?.(state.tr.insertText("\n").scrollIntoView());
  return true;
};

/** Put asterisks around the selection, or take them away. */
const emphasize: Command = (state, dispatch) => {
  const { from, to, $from, $to } = state.selection;
  if (!$from.sameParent($to)) return false;
  const text = $from.parent.textContent;
  const [start, end] = [$from.parentOffset, $to.parentOffset];
  const tr = state.tr;
  if (start < end && text[start - 1] === "*" && text[end] === "*") {
    tr.delete(to, to + 1).delete(from - 1, from);
  } else {
    tr.insertText("*", to).insertText("*", from);
    tr.setSelection(TextSelection.create(tr.doc, from + 1, to + 1));
  }
  dispatch?.(tr);
  return true;
};

function saveBy(events: EditorEvents): Command {
  return () => {
    events.save();
    return true;
  };
}

const NOT_TEXT = /<(style|script|template|noscript)\b[^]*?<\/\1\s*>/gi;
const TAG = /<([a-z][\w:-]*)(?:[^>"']|"[^"]*"|'[^']*')*>/gi;

/** What comes from another program keeps its italics and headings, in the signs of our text. */
function asPlainMarks(html: string): string {
  if (html.includes("data-pm-slice")) return html; // copied here, so it has its signs
  // Attributes go first: the content policy would complain of a style even in a page that nobody sees.
  const page = new DOMParser().parseFromString(storable(html).replace(NOT_TEXT, "").replace(TAG, "<$1>"), "text/html");
  for (const heading of page.querySelectorAll("h1, h2, h3, h4, h5, h6")) heading.prepend("## ");
  for (const italic of page.querySelectorAll("em, i")) if (italic.textContent.trim()) italic.replaceWith(`*${italic.textContent.trim()}*`);
  const clean = document.createElement("div");
  DocumentParser.fromSchema(schema).parse(page.body).forEach((block) => {
    if (!block.textContent.trim()) return;
    const paragraph = document.createElement("p");
    paragraph.textContent = block.textContent;
    clean.append(paragraph);
  });
  return clean.innerHTML;
}
