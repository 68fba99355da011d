/**
 * The paragraphs of a text that does not change, and two ways to count in it: code points, as the server does, and UTF-16
 * units, as the browser does.
 *
 * In the browser a place is a unit of the whole text. Only what goes to the server, or comes from it, is turned into points.
 */

import { points } from "../shared/text";

export interface Span {
  start: number;
  end: number;
}

const BETWEEN = "\n\n";

export class Blocks {
  readonly all: readonly string[];
  /** Where each paragraph begins, in units and in points. */
  readonly #units: Int32Array;
  readonly #points: Int32Array;
  /** For a paragraph with characters of two units: the units, from its beginning, at which they stand. */
  readonly #wide: (Int32Array | undefined)[];

  /** `text` has its paragraphs parted by exactly one blank line, as takes have. */
  constructor(readonly text: string) {
    this.all = text.split(BETWEEN);
    this.#units = new Int32Array(this.all.length);
    this.#points = new Int32Array(this.all.length);
    this.#wide = this.all.map(wide);
    let [unit, point] = [0, 0];
    this.all.forEach((block, index) => {
      this.#units[index] = unit;
      this.#points[index] = point;
      unit += block.length + BETWEEN.length;
      point += block.length - (this.#wide[index]?.length ?? 0) + BETWEEN.length;
    });
  }

  /** The paragraph that a unit is in; the blank line behind it belongs to it. */
  at(unit: number): number {
    return Math.max(0, below(this.#units, unit + 1) - 1);
  }

  startOf(block: number): number {
    return this.#units[block]!;
  }

  endOf(block: number): number {
    return this.#units[block]! + this.all[block]!.length;
  }

  toPoint(unit: number): number {
    const block = this.at(unit);
    const within = unit - this.#units[block]!;
    const found = this.#wide[block];
    // A place between the two halves of a character counts as behind it; the browser has no such places for people.
    return this.#points[block]! + within - (found ? below(found, within) : 0);
  }

  toUnit(point: number): number {
    const block = Math.max(0, below(this.#points, point + 1) - 1);
    const within = point - this.#points[block]!;
    const found = this.#wide[block];
    if (!found) return Math.min(this.text.length, this.#units[block]! + within);
    let [low, high] = [0, found.length]; // the wide character number i stands at point found[i] - i
    while (low < high) {
      const middle = (low + high) >> 1;
      if (found[middle]! - middle < within) low = middle + 1;
      else high = middle;
    }
    return Math.min(this.text.length, this.#units[block]! + within + low);
  }

  /** The words between two units, without the blanks around them; null when there are none. */
  trimmed({ start, end }: Span): Span | null {
    const words = this.text.slice(start, end);
    const from = words.length - words.trimStart().length;
    return words.trim() === "" ? null : { start: start + from, end: start + words.trimEnd().length };
  }
}

/** How many of the sorted values are less than `limit`. */
function below(sorted: Int32Array, limit: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function wide(block: string): Int32Array | undefined {
  const count = block.length - points(block);
  if (count === 0) return undefined;
  const found = new Int32Array(count);
  for (let unit = 0, index = 0; index < count; unit++) {
    if (block.codePointAt(unit)! > 0xffff) found[index++] = unit++;
  }
  return found;
}
