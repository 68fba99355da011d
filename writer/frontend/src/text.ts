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

/** A text and what follows it in the log, as docs/protocol.md joins them. */
export function join(head: string, tail: string): string {
  const trimmed = head.replace(/[ \t\n]+$/, "");
  return trimmed === "" ? tail.replace(/^(?:[ \t]*\n)+/, "") : trimmed + tail;
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

/** Leave out what the server does not keep (control characters, halves of characters): a paste may bring them. */
export function storable(text: string): string {
  return text.toWellFormed().replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}

export async function sha256(text: string): Promise<string | null> {
  // Browsers lend their cryptography to https and localhost only; without it the length has to do.
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What of the log stands behind `head` in the whole text that the server showed, `chars` code points of it. */
export function tailOf(head: string, whole: string, chars: number): string {
  const shown = whole.slice(join(head, "").length);
  return "\n".repeat(Math.max(0, chars - points(shown))) + shown; // behind an empty head the blank line is left out
}
