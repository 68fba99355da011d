/** Going through a text by word and by sentence: where a cursor goes, and how a selection grows. No layout is asked. */

import type { Blocks, Span } from "./blocks";

/** What is selected, with a direction: it runs from `base` to `head`. */
export interface Course {
  base: number;
  head: number;
}

export type Unit = "word" | "sentence" | "paragraph";

const PICTURE = /\p{Extended_Pictographic}/u;
const segmenters = {
  word: new Intl.Segmenter(undefined, { granularity: "word" }),
  sentence: new Intl.Segmenter(undefined, { granularity: "sentence" }),
};

export const spanOf = ({ base, head }: Course): Span => ({ start: Math.min(base, head), end: Math.max(base, head) });

export class Walk {
  #cut = { word: new Map<number, Span[]>(), sentence: new Map<number, Span[]>(), paragraph: new Map<number, Span[]>() };

  constructor(readonly blocks: Blocks) {}

  /** The word that a place is in, or else the next one. */
  wordAt(unit: number): Span {
    return this.#find("word", unit, (span) => span.end > unit) ?? this.last();
  }

  /** The last word of the text. */
  last(): Span {
    return this.#back("word", this.blocks.text.length + 1) ?? { start: 0, end: this.blocks.text.length };
  }

  /** The word to go to from `from`: the next or the one before, or the first of the next sentence or paragraph. */
  go(from: Course, by: Unit, forward: boolean): Span {
    const { start, end } = spanOf(from);
    if (forward) {
      // From a place in the middle of nothing, the next word is the one that begins there.
      const beyond = by === "word" ? Math.max(end, start === end ? start : start + 1) : start + 1;
      const found = this.#find(by, beyond, (span) => span.start >= beyond);
      return found ? this.wordAt(found.start) : this.last();
    }
    const found = this.#back(by, start);
    return this.wordAt(found?.start ?? 0);
  }

  /** The selection grown, or shrunk, by one word, sentence or paragraph; the word that it began with stays in it. */
  grow({ base, head }: Course, by: Unit, forward: boolean): Course {
    const right = head >= base;
    const first = this.#firstWord(base, right);
    if (right && forward) {
      return { base: Math.min(base, first.start), head: this.#find(by, head, (span) => span.end > head)?.end ?? head };
    }
    if (!right && !forward) return { base: Math.max(base, first.end), head: this.#back(by, head)?.start ?? head };
    if (right) {
      const end = this.#lastEnd(by, head);
      if (end > first.start && end >= first.end) return { base, head: end };
      if (head > first.end) return { base, head: first.end };
      return { base: first.end, head: this.#back(by, first.start)?.start ?? first.start };
    }
    const start = this.#find(by, head + 1, (span) => span.start > head)?.start ?? head;
    if (start > head && start <= first.start) return { base, head: start };
    if (head < first.start) return { base, head: first.start };
    return { base: first.start, head: this.#find(by, first.end, (span) => span.end > first.end)?.end ?? first.end };
  }

  #firstWord(base: number, right: boolean): Span {
    return right ? this.wordAt(base) : (this.#back("word", base) ?? { start: 0, end: base });
  }

  /** The first piece, from the paragraph of `unit` on, that passes. */
  #find(by: Unit, unit: number, passes: (span: Span) => boolean): Span | undefined {
    for (let block = this.blocks.at(unit); block < this.blocks.all.length; block++) {
      const found = this.#pieces(by, block).find(passes);
      if (found) return found;
    }
    return undefined;
  }

  /** The last piece that begins before `unit`. */
  #back(by: Unit, unit: number): Span | undefined {
    for (let block = this.blocks.at(Math.max(0, unit - 1)); block >= 0; block--) {
      const found = this.#pieces(by, block).findLast((span) => span.start < unit);
      if (found) return found;
    }
    return undefined;
  }

  /** The end of the last piece that ends before `unit`; 0: there is none. */
  #lastEnd(by: Unit, unit: number): number {
    for (let block = this.blocks.at(Math.max(0, unit - 1)); block >= 0; block--) {
      const found = this.#pieces(by, block).findLast((span) => span.end < unit);
      if (found) return found.end;
    }
    return 0;
  }

  #pieces(by: Unit, block: number): Span[] {
    const known = this.#cut[by].get(block);
    if (known) return known;
    const pieces = by === "paragraph" ? [] : this.#segments(by, block);
    const whole = this.blocks.trimmed({ start: this.blocks.startOf(block), end: this.blocks.endOf(block) });
    if (pieces.length === 0 && whole) pieces.push(whole); // a scene break can be marked too
    this.#cut[by].set(block, pieces);
    return pieces;
  }

  #segments(by: "word" | "sentence", block: number): Span[] {
    const begin = this.blocks.startOf(block);
    const found: Span[] = [];
    for (const { segment, index, isWordLike } of segmenters[by].segment(this.blocks.all[block]!)) {
      if (by === "word" && !isWordLike && !PICTURE.test(segment)) continue;
      const span = this.blocks.trimmed({ start: begin + index, end: begin + index + segment.length });
      if (span) found.push(span);
    }
    return found;
  }
}
