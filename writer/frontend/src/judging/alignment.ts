/**
 * Which place of one text matches which place of another.
 *
 * A place is a paragraph and a part of it: 3.5 is the middle of the fourth. Paragraphs that both texts have, once each,
 * anchor each other, in order; between anchors, and from the first lines to the last, words are shared out evenly. So two
 * takes that have nothing in common move together at a pace that brings both to their ends at once.
 *
 * The inner half of a paragraph that both have matches line by line. Its outer quarters give way: where one text has a
 * scene that the other lacks, the other runs through it quickly and does not jump.
 */

import { countWords, paragraphs } from "../shared/text";

export type Place = number;

/** A text as it is read side by side with another one. */
export interface Take {
  readonly paragraphs: readonly string[];
  /** Of each paragraph. */
  readonly words: readonly number[];
}

export function takeOf(text: string): Take {
  const blocks = paragraphs(text);
  return { paragraphs: blocks, words: blocks.map(countWords) };
}

/** Fewer words than these are said in any story, and are no sign that the same thing happens. */
const ANCHOR_WORDS = 5;
/** Words that are before the reader at once. */
const PAGE = 400;

/** Pairs of equal paragraphs, in order: the longest row that ascends on both sides. */
export function anchors(left: Take, right: Take): [number, number][] {
  const [ours, theirs] = [single(left), single(right)];
  const found = [...ours].flatMap(([text, at]): [number, number][] => (theirs.has(text) ? [[at, theirs.get(text)!]] : []));
  return ascending(found);
}

/** Paragraphs that stand in the text once, and where. Headings anchor however short they are. */
function single({ paragraphs, words }: Take): Map<string, number> {
  const found = new Map<string, number>();
  const twice = new Set<string>();
  paragraphs.forEach((paragraph, at) => {
    const text = paragraph.trim();
    if (found.has(text)) twice.add(text);
    else if (text.startsWith("## ") || words[at]! >= ANCHOR_WORDS) found.set(text, at);
  });
  for (const text of twice) found.delete(text);
  return found;
}

/** The longest part of these pairs (ascending on the left already) that ascends on the right too: patience sorting. */
function ascending(pairs: [number, number][]): [number, number][] {
  const piles: number[] = []; // for each length, the pair that ends such a row lowest
  const before: number[] = [];
  pairs.forEach(([, right], index) => {
    const pile = lowest(piles.length, (k) => pairs[piles[k]!]![1] >= right);
    before[index] = piles[pile - 1] ?? -1;
    piles[pile] = index;
  });
  const row: [number, number][] = [];
  for (let index = piles.at(-1) ?? -1; index >= 0; index = before[index]!) row.unshift(pairs[index]!);
  return row;
}

/** The lowest of 0 to `count` for which it is true, given that it stays true from there on. */
export function lowest(count: number, holds: (index: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Places of one text as words from its beginning, and back. A scene break counts as a word: it takes a line. */
class Scale {
  readonly #ends: number[] = [0];

  constructor(words: readonly number[]) {
    for (const count of words) this.#ends.push(this.#ends.at(-1)! + Math.max(1, count));
  }

  get total(): number {
    return this.#ends.at(-1)!;
  }

  wordsAt(place: Place): number {
    const block = Math.floor(Math.min(Math.max(place, 0), this.#ends.length - 1));
    const start = this.#ends[block]!;
    return start + ((this.#ends[block + 1] ?? start) - start) * (place - block);
  }

  placeAt(words: number): Place {
    const block = lowest(this.#ends.length - 1, (k) => this.#ends[k + 1]! > words);
    const [start, end] = [this.#ends[block]!, this.#ends[block + 1]];
    return end === undefined ? block : block + (words - start) / (end - start);
  }
}

/** Words from the beginning of each text. */
type Point = readonly [left: number, right: number];

export class Alignment {
  readonly #left: Scale;
  readonly #right: Scale;
  /** Ascending on both sides. From each odd one to the next lies what both texts have word for word. */
  readonly #known: Point[];
  #points: Point[];

  constructor(left: Take, right: Take) {
    this.#left = new Scale(left.words);
    this.#right = new Scale(right.words);
    const at = (a: Place, b: Place): Point => [this.#left.wordsAt(a), this.#right.wordsAt(b)];
    const inner = anchors(left, right).flatMap(([a, b]) => [at(a + 0.25, b + 0.25), at(a + 0.75, b + 0.75)]);
    this.#known = [[0, 0], ...inner, [this.#left.total, this.#right.total]];
    this.#points = this.#known;
  }

  toRight(place: Place): Place {
    return this.#right.placeAt(across(this.#points, this.#left.wordsAt(place), 0, 1));
  }

  toLeft(place: Place): Place {
    return this.#left.placeAt(across(this.#points, this.#right.wordsAt(place), 1, 0));
  }

  /**
   * From now on these two places match: the reader put them side by side. For about a page before and behind, both texts move
   * word by word. What they have in common knows better: where it says that one of the two is past what the other has yet to
   * come to, nothing changes, and the answer is false.
   */
  pin(left: Place, right: Place): boolean {
    const [a, b] = [this.#left.wordsAt(left), this.#right.wordsAt(right)];
    const next = lowest(this.#known.length, (k) => this.#known[k]![0] > a);
    const [before, after] = [this.#known[next - 1]!, this.#known[next] ?? this.#known.at(-1)!];
    const wordForWord = next % 2 === 0 && next < this.#known.length;
    if (wordForWord || b < before[1] || b > after[1]) return false;
    const behind = Math.min(PAGE, (a - before[0]) / 2, (b - before[1]) / 2);
    const ahead = Math.min(PAGE, (after[0] - a) / 2, (after[1] - b) / 2);
    this.#points = this.#known.toSpliced(next, 0, [a - behind, b - behind], [a, b], [a + ahead, b + ahead]);
    return true;
  }
}

function across(points: readonly Point[], value: number, from: 0 | 1, to: 0 | 1): number {
  const next = lowest(points.length, (k) => points[k]![from] > value);
  const [before, after] = [points[Math.max(0, next - 1)]!, points[next]];
  if (!after) return before[to];
  return before[to] + ((value - before[from]) / (after[from] - before[from])) * (after[to] - before[to]);
}
