/** How a paragraph is drawn: headings, scene breaks and emphasis, recomputed only where the text changed. */

import type { Node } from "prosemirror-model";
import { Plugin, PluginKey, type Transaction } from "prosemirror-state";
import { Decoration, DecorationSet } from "prosemirror-view";
import { emphases, kindOf } from "../shared/text";

const marks = new PluginKey<DecorationSet>("marks");

export function marksPlugin(): Plugin<DecorationSet> {
  return new Plugin<DecorationSet>({
    key: marks,
    state: {
      init: (_config, state) => DecorationSet.create(state.doc, drawn(state.doc, 0, state.doc.content.size)),
      apply(tr, before) {
        if (!tr.docChanged) return before;
        const { from, to } = changed(tr);
        const set = before.map(tr.mapping, tr.doc);
        const [start, end] = wholeBlocks(tr.doc, from, to);
        return set.remove(set.find(start, end)).add(tr.doc, drawn(tr.doc, start, end));
      },
    },
    props: { decorations: (state) => marks.getState(state) },
  });
}

function drawn(doc: Node, from: number, to: number): Decoration[] {
  const found: Decoration[] = [];
  doc.nodesBetween(from, to, (block, position) => {
    const text = block.textContent;
    const [start, end] = [position, position + block.nodeSize];
    const inline = (a: number, b: number, name: string): number =>
      found.push(Decoration.inline(start + 1 + a, start + 1 + b, { class: name }));
    const kind = kindOf(text);
    if (kind === "heading") {
      found.push(Decoration.node(start, end, { class: "heading", role: "heading", "aria-level": "2" }));
      inline(0, 3, "sign");
    } else if (kind === "break") {
      found.push(Decoration.node(start, end, { class: "break", "aria-label": "Scene break" }));
    }
    for (const { from: a, to: b } of emphases(text)) {
      inline(a, a + 1, "sign");
      inline(a + 1, b - 1, "emphasis");
      inline(b - 1, b, "sign");
    }
    return false;
  });
  return found;
}

function changed(tr: Transaction): { from: number; to: number } {
  let [from, to] = [tr.doc.content.size, 0];
  tr.mapping.maps.forEach((map, index) => {
    const rest = tr.mapping.slice(index + 1);
    map.forEach((_oldStart, _oldEnd, start, end) => {
      from = Math.min(from, rest.map(start, -1));
      to = Math.max(to, rest.map(end, 1));
    });
  });
  return { from: Math.min(from, to), to };
}

function wholeBlocks(doc: Node, from: number, to: number): [number, number] {
  const first = doc.resolve(from);
  const last = doc.resolve(Math.min(to, doc.content.size));
  return [first.depth ? first.before(1) : from, last.depth ? last.after(1) : Math.min(to, doc.content.size)];
}
