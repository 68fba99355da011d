/**
 * What was typed and is not on the server yet, kept in the browser so that a lost connection, a reload or an expired
 * session costs nothing.
 *
 * Each window has a record of its own. A lock that the browser frees when a window
 * closes shows which windows are still open; the record of a closed one is taken over by the next window that opens the story.
 */

import { openDatabase } from "../shared/database";
import { randomId } from "../shared/text";

export interface Save {
  base_revision: string;
  absorbed: number;
  text: string;
  op_id: string;
}

export interface Kept {
  story: string;
  window: string;
  /** Sent, and not answered: the server may or may not have it. */
  sent: Save | null;
  /** Typed since. */
  draft: Save | null;
  at: number;
}

export interface Store {
  keep(sent: Save | null, draft: Save | null): Promise<void>;
  /** The same for a page that is being closed: nothing may wait any more. */
  part(sent: Save | null, draft: Save | null): void;
}

async function within<T>(name: "outbox" | "aside", mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await openDatabase();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(name, mode);
    const asked = work(transaction.objectStore(name));
    if (mode === "readwrite") transaction.commit(); // a page that is being closed lives on no longer than this
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? new Error("This browser keeps nothing"));
  });
}

export class Outbox implements Store {
  private constructor(
    readonly story: string,
    readonly window: string,
  ) {}

  /** The outbox of this window, and what it, or windows that are closed by now, left behind, oldest first. */
  static async of(story: string): Promise<{ outbox: Outbox; left: Kept[] }> {
    const window = await ownName();
    for (const kept of parted(story)) await within("outbox", "readwrite", (store) => store.put(kept));
    const all = await within<Kept[]>("outbox", "readonly", (store) => store.getAll());
    const left: Kept[] = [];
    for (const kept of all.filter((one) => one.story === story)) {
      if (kept.window === window || (await isFree(kept.window))) left.push(kept);
    }
    left.sort((a, b) => a.at - b.at);
    return { outbox: new Outbox(story, window), left };
  }

  async keep(sent: Save | null, draft: Save | null): Promise<void> {
    if (!sent && !draft) await this.forget(this.window);
    else await within("outbox", "readwrite", (store) => store.put(this.#kept(sent, draft)));
  }

  part(sent: Save | null, draft: Save | null): void {
    if (!sent && !draft) return;
    try {
      localStorage.setItem(`${PARTED}${this.story}:${this.window}`, JSON.stringify(this.#kept(sent, draft)));
    } catch {
      // Full or forbidden: what was kept a moment ago has to do.
    }
  }

  #kept(sent: Save | null, draft: Save | null): Kept {
    return { story: this.story, window: this.window, sent, draft, at: Date.now() };
  }

  async forget(window: string): Promise<void> {
    await within("outbox", "readwrite", (store) => store.delete([this.story, window]));
  }
}

/** A version that the writer set aside for another one, to copy from until it is thrown away. */
export const aside = {
  put: (story: string, text: string) => within("aside", "readwrite", (store) => store.put({ story, text })),
  get: async (story: string) => (await within<{ text: string } | undefined>("aside", "readonly", (store) => store.get(story)))?.text,
  drop: (story: string) => within("aside", "readwrite", (store) => store.delete(story)),
};

const PARTED = "longhand:parted:";

/** What closed pages left in the one store that takes things at once, and takes little. */
function parted(story: string): Kept[] {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(PARTED + story));
  return names.map((name) => {
    const kept = JSON.parse(localStorage.getItem(name)!) as Kept;
    localStorage.removeItem(name);
    return kept;
  });
}

const lockOf = (window: string): string => `longhand:window:${window}`;

/** The name of this window: the same after a reload, another one in a copy of the tab. */
async function ownName(): Promise<string> {
  const known = sessionStorage.getItem("window");
  if (known && ((await hold(known)) || (await rested(), await hold(known)))) return known;
  const name = randomId();
  sessionStorage.setItem("window", name);
  await hold(name);
  return name;
}

/** After a reload the browser may need a moment to free what the page before it held. */
const rested = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 300));

function hold(window: string): Promise<boolean> {
  const locks = navigator.locks as LockManager | undefined;
  if (!locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    void locks.request(lockOf(window), { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : undefined; // held until the window closes
    });
  });
}

async function isFree(window: string): Promise<boolean> {
  const locks = navigator.locks as LockManager | undefined;
  const held = await locks?.query();
  return !held?.held?.some((lock) => lock.name === lockOf(window));
}
