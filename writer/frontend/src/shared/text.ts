/** The text of a story in the browser: words, paragraphs, offsets. `training/common/text.py` holds the same for everybody else. */

const IDEOGRAPH = String.raw`\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}`;
const LETTER = String.raw`[[\p{L}\p{N}\p{M}]--[${IDEOGRAPH}]]`;
const WORD = new RegExp(String.raw`[${IDEOGRAPH}]|${LETTER}+(?:['’]${LETTER}+)*`, "gv");
const GAP = /\n[^\S\n]*\n\s*/;
const EMPHASIS = /(?<![*\p{L}\p{N}])\*(?=[^\s*])[^*\n]*(?<=[^\s*])\*(?![*\p{L}\p{N}])/gu;

export const SCENE_BREAK = "* * *";

export function countWords(text: string): number {
  WORD.lastIndex = 0;
  let words = 0;
  while (WORD.test(text)) words++;
  return words;
}

/** Split at blank lines; empty paragraphs are dropped. */
export function paragraphs(text: string): string[] {
  return text
    .split(GAP)
    .map((block) => block.replace(/^\n+|\n+$/g, ""))
    .filter((block) => block.trim() !== "");
}

export function joinParagraphs(blocks: Iterable<string>): string {
  return [...blocks].filter((block) => block.trim() !== "").join("\n\n");
}

/** How many Unicode code points a string has: what the server counts. A string's own length counts UTF-16 units. */
export function points(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) if (isHighSurrogate(text, i)) count--;
  return count;
}

/** The UTF-16 index of an offset in code points; an offset behind the end is the end. */
export function indexOfPoint(text: string, offset: number): number {
  let index = 0;
  for (let left = offset; left > 0 && index < text.length; left--) index += isHighSurrogate(text, index) ? 2 : 1;
  return index;
}

function isHighSurrogate(text: string, index: number): boolean {
  const unit = text.charCodeAt(index);
  if (unit < 0xd800 || unit > 0xdbff) return false;
  const next = text.charCodeAt(index + 1);
  return next >= 0xdc00 && next <= 0xdfff;
}

export type Kind = "paragraph" | "heading" | "break";

export function kindOf(paragraph: string): Kind {
  if (paragraph === SCENE_BREAK) return "break";
  return paragraph.startsWith("## ") ? "heading" : "paragraph";
}

/** Where `*...*` stands in a paragraph, the asterisks included. */
export function emphases(paragraph: string): { from: number; to: number }[] {
  if (!paragraph.includes("*") || kindOf(paragraph) === "break") return [];
  return [...paragraph.matchAll(EMPHASIS)].map((found) => ({ from: found.index, to: found.index + found[0].length }));
}

/**
 * A text as the server keeps it: line ends of every kind (a paste may bring them) are line feeds, other control characters and
 * halves of characters are left out.
 */
export function storable(text: string): string {
  return text
    .toWellFormed()
    .replace(/\r\n|[\r\v\f\u001c-\u001f\u0085\u2028\u2029]/g, "\n")
    .replace(/[\u0000-\u0008\u000e-\u001b\u007f-\u009f]/g, "");
}

export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
