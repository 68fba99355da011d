/** Small things that one person typed or set, kept in this browser until they are not needed any more. */

const DAYS = 60 * 24 * 3_600_000;

export class Kept<T> {
  readonly #name: string;

  /** Under `kind`, for this person and what they have before them. */
  constructor(kind: string, user: number, about: string | number = "") {
    this.#name = `longhand:${kind}:${user}:${about}`;
  }

  get(): T | null {
    try {
      return (JSON.parse(localStorage.getItem(this.#name) ?? "null") as { value: T } | null)?.value ?? null;
    } catch {
      return null;
    }
  }

  set(value: T): void {
    try {
      localStorage.setItem(this.#name, JSON.stringify({ value, at: Date.now() }));
    } catch {
      // Full or forbidden: it lives as long as the page.
    }
  }

  drop(): void {
    try {
      localStorage.removeItem(this.#name);
    } catch {
      // Nothing was kept there.
    }
  }
}

/** Forget what nobody has come back to. */
export function clearAway(...kinds: string[]): void {
  try {
    for (const name of Object.keys(localStorage).filter((name) => kinds.some((kind) => name.startsWith(`longhand:${kind}:`)))) {
      const { at } = JSON.parse(localStorage.getItem(name)!) as { at: number };
      if (!(Date.now() - at < DAYS)) localStorage.removeItem(name);
    }
  } catch {
    // It stays where it is.
  }
}
