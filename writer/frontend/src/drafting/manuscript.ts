/**
 * The text of a story as a ProseMirror document: one node a paragraph, the characters exactly as they are stored.
 *
 * Asterisks and `## ` stay in the text and are only drawn (marks.ts). So nothing is parsed that would have to be written
 * back the same way: the document and the text are one, character for character.
 */

import { type Node, Schema } from "prosemirror-model";
import { countWords, joinParagraphs, paragraphs } from "../shared/text";

export const schema = new Schema({
  nodes: {
    doc: { content: "paragraph+" },
    paragraph: {
      content: "text*",
      whitespace: "pre", // a line break inside a paragraph is a character of it
      parseDOM: ["p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "blockquote", "pre"].map((tag) => ({ tag })),
      toDOM: () => ["p", 0],
    },
    text: {},
  },
});

export function paragraphNode(text: string): Node {
  return schema.node("paragraph", null, text ? [schema.text(text)] : []);
}

export function documentOf(text: string): Node {
  const blocks = paragraphs(text);
  return schema.node("doc", null, blocks.length ? blocks.map(paragraphNode) : [paragraphNode("")]);
}

/** The text of a document; `last` is what to take of its last paragraph instead of all of it. */
export function textOf(doc: Node, last?: string): string {
  const blocks: string[] = [];
  doc.forEach((block, _offset, index) => {
    blocks.push(last !== undefined && index === doc.childCount - 1 ? last : block.textContent);
  });
  return joinParagraphs(blocks);
}

const counted = new WeakMap<Node, number>();

/** Words of a document. A paragraph that did not change is not counted again. */
export function wordsOf(doc: Node): number {
  let words = 0;
  doc.forEach((block) => {
    let own = counted.get(block);
    if (own === undefined) counted.set(block, (own = countWords(block.textContent)));
    words += own;
  });
  return words;
}
