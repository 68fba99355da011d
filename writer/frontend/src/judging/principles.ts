/** The principles of a palette: found by a few letters, the ones used last first. */

export interface Principle {
  version: number;
  key: string;
  name: string;
  number: number;
  explanation: string;
  examples: { follows: string; follows_because: string; breaks: string; breaks_because: string }[];
}

const plain = (text: string): string => text.normalize("NFKD").replace(/\p{M}/gu, "").replace(/[’‘]/g, "'").toLowerCase();

export class Principles {
  readonly all: readonly Principle[];
  /** What is searched, by version: made once, so that a key press only compares. */
  #words: Map<number, { name: string; key: string; explanation: string }>;

  constructor(all: readonly Principle[]) {
    this.all = all;
    this.#words = new Map(
      all.map((one) => [one.version, { name: plain(one.name), key: plain(one.key), explanation: plain(one.explanation) }]),
    );
  }

  /** Those that have every word of the query, the best first. `recent` are keys, the one used last first. */
  found(query: string, recent: readonly string[] = []): Principle[] {
    const words = plain(query).split(/\s+/).filter(Boolean);
    const rank = new Map(recent.map((key, index) => [key, recent.length - index]));
    const scored = this.all.map((one) => ({ one, score: this.#score(one, words), recent: rank.get(one.key) ?? 0 }));
    return scored
      .filter(({ score }) => score >= 0)
      .sort((a, b) => b.score - a.score || b.recent - a.recent)
      .map(({ one }) => one);
  }

  #score({ version }: Principle, words: string[]): number {
    const { name, key, explanation } = this.#words.get(version)!;
    let sum = 0;
    for (const word of words) {
      let score = -1;
      if (name.startsWith(word)) score = 40;
      else if (begins(name, word)) score = 30;
      else if (begins(key, word)) score = 25;
      else if (name.includes(word)) score = 15;
      else if (key.includes(word)) score = 12;
      else if (begins(explanation, word)) score = 6;
      else if (explanation.includes(word)) score = 2;
      else return -1;
      sum += score;
    }
    return sum;
  }
}

/** Whether a word of the text begins so. */
function begins(text: string, word: string): boolean {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    if (at === 0 || !/[\p{L}\p{N}]/u.test(text[at - 1]!)) return true;
  }
  return false;
}

const MOST = 8;

/** What this person chose last on this device. A browser that keeps nothing forgets it, which is no harm. */
export class Recent {
  readonly #name: string;
  keys: string[] = [];

  constructor(user: number) {
    this.#name = `longhand:principles:${user}`;
    try {
      this.keys = (JSON.parse(localStorage.getItem(this.#name) ?? "[]") as unknown[]).filter((key) => typeof key === "string");
    } catch {
      // Nothing is kept.
    }
  }

  use(key: string): void {
    this.keys = [key, ...this.keys.filter((one) => one !== key)].slice(0, MOST);
    try {
      localStorage.setItem(this.#name, JSON.stringify(this.keys));
    } catch {
      // Full or forbidden.
    }
  }
}
