/**
 * How much of each text was read. A record, never a gate.
 *
 * A paragraph counts as seen when it was on the screen for as long as its words take at 1,000 a minute, which is faster than
 * anybody reads. The time is shared out among all that is on the screen and was not seen before, on both sides: nobody reads
 * two texts at once.
 */

/** Paragraphs from the first up to, and without, the second. */
export type Ranges = [from: number, to: number][];

const MS_PER_WORD = 60;

export class Coverage {
  readonly #seen: boolean[];
  readonly #looked: number[];

  constructor(
    readonly words: readonly number[],
    seen: Ranges,
  ) {
    this.#seen = words.map((_, at) => seen.some(([from, to]) => from <= at && at < to));
    this.#looked = words.map(() => 0);
  }

  /** Of the words, 0 to 1. */
  get share(): number {
    const sum = (of: readonly number[]): number => of.reduce((total, words) => total + words, 0);
    const all = sum(this.words);
    return all === 0 ? 1 : sum(this.words.filter((_, at) => this.#seen[at])) / all;
  }

  get ranges(): Ranges {
    const found: Ranges = [];
    this.#seen.forEach((seen, at) => {
      if (!seen) return;
      if (found.at(-1)?.[1] === at) found.at(-1)![1]++;
      else found.push([at, at + 1]);
    });
    return found;
  }

  unseen(visible: readonly number[]): number[] {
    return visible.filter((at) => !this.#seen[at]);
  }

  /** This paragraph had so much of the reader's time. True when it is seen by now. */
  look(at: number, time: number): boolean {
    this.#looked[at]! += time;
    return (this.#seen[at] = this.#looked[at]! >= this.words[at]! * MS_PER_WORD);
  }
}

/** Share out a time among what is on the screen of each text. True when a paragraph more was seen. */
export function look(sides: readonly (readonly [Coverage, visible: readonly number[]])[], time: number): boolean {
  const open = sides.flatMap(([coverage, visible]) => coverage.unseen(visible).map((at) => [coverage, at] as const));
  const words = open.reduce((total, [coverage, at]) => total + coverage.words[at]!, 0);
  const seen = open.map(([coverage, at]) => coverage.look(at, words && (time * coverage.words[at]!) / words));
  return seen.includes(true);
}

/** Whether somebody is in front of the page: it is visible, and something moved in the last two minutes. */
export class Presence {
  #last = Date.now();

  constructor(readonly patience = 120_000) {
    for (const sign of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) {
      addEventListener(sign, () => (this.#last = Date.now()), { passive: true, capture: true });
    }
  }

  get there(): boolean {
    return document.visibilityState === "visible" && Date.now() - this.#last < this.patience;
  }
}

/** "You have read 20 % of the left." Nothing where most of both was read. */
export function warning(left: number, right: number): string {
  const few = ([["left", left], ["right", right]] as const).filter(([, share]) => share < 0.5);
  if (!few.length) return "";
  return `You have read ${few.map(([side, share]) => `${percent(share)} of the ${side}`).join(" and ")}.`;
}

/** Never 100 % before all of it is, and never 0 % once something is. */
export function percent(share: number): string {
  const shown = share > 0 && share < 1 ? Math.min(99, Math.max(1, Math.round(100 * share))) : 100 * share;
  return `${shown} %`;
}
