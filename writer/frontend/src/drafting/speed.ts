/** How fast a story grows, and how long it will take: from the last half minute, in which pauses count. */

const WINDOW = 30_000;
const ENOUGH = 3_000;

export class Speed {
  #points: { at: number; words: number }[] = [];

  /** Words of the whole story at a time in milliseconds. */
  saw(words: number, at: number): void {
    const last = this.#points.at(-1);
    if (last && words < last.words) this.#points = [];
    this.#points.push({ at, words });
    while (this.#points.length > 2 && this.#points[1]!.at <= at - WINDOW) this.#points.shift();
  }

  /** What came so far says nothing about what comes: another connection, a pause. */
  forget(): void {
    this.#points = [];
  }

  /** Words a minute, or null while there is too little to say. */
  perMinute(at: number): number | null {
    const first = this.#points[0];
    const last = this.#points.at(-1);
    if (!first || !last || at - first.at < ENOUGH || last.words === first.words) return null;
    return ((last.words - first.words) / (at - first.at)) * 60_000;
  }
}

/** How long the rest takes, as a person would say it. */
export function timeLeft(words: number, target: number, perMinute: number | null): string {
  if (perMinute === null || perMinute < 1 || words >= target) return "";
  const minutes = (target - words) / perMinute;
  if (minutes < 0.75) return "less than a minute left";
  if (minutes < 90) return `about ${Math.round(minutes)} min left`;
  return `about ${Math.round(minutes / 60)} h left`;
}
