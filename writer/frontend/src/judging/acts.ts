/**
 * What an editor does (votes, marks, scores, ...), kept in the browser until the server has it, and undone by one key.
 *
 * The protocol: an act gets a name (`op_id`) and is written to IndexedDB before it is sent; it is sent under this name until
 * it is answered, and the server stores it once. One tab of the browser sends at a time, one act after another, in the order
 * in which they were done and undone. Undoing an act that was never sent forgets it; one that may have arrived is first sent
 * to the end, so that no late copy of it can follow its undoing. A page that is closed before IndexedDB has written an act leaves
 * it in localStorage, which takes things at once. Acts are kept by person, and sent only while this person is the one
 * who is signed in.
 */

import { ApiError, request } from "../shared/api";
import { openDatabase } from "../shared/database";
import { randomId } from "../shared/text";

export type Act = { kind: string } & Record<string, unknown>;
export type ActState = "saved" | "saving" | "offline" | "signed-out" | "refused";

export interface Done {
  op_id: string;
  act: Act;
  /** The address of the page that it was done on. */
  page: string;
  label: string;
  /** What the page needs to restore when the act is undone. */
  before?: unknown;
}

/** An act, or its undoing, that the server does not have yet. */
export interface Unsent extends Done {
  undone: boolean;
}

export const ACT_WORDS: Record<ActState, string> = {
  saved: "Saved",
  saving: "Saving…",
  offline: "Offline: kept in this browser",
  "signed-out": "Signed out: kept in this browser",
  refused: "Not saved",
};

export interface Row extends Done {
  /** Its number among all that was done and undone; `undo` is that of its undoing. What is sent is sent in this order. */
  number: number;
  undo: number | null;
  /** `tried`: sent, and not answered: the server may or may not have it. */
  state: "new" | "tried" | "sent" | "refused";
  detail: string;
}

/** Where the rows are kept. */
export interface Shelf {
  /** Change this person's rows in place, all at once or not at all; returns the rows as they are then. */
  change(user: number, work: (rows: Row[]) => void): Promise<Row[]>;
}

export interface Port {
  user: number;
  shelf: Shelf;
  send<T>(method: "GET" | "PUT" | "DELETE", path: string, body?: unknown): Promise<T>;
  /** Do this while no other tab does. */
  alone(work: () => Promise<void>): Promise<void>;
  /** Something that changes whenever somebody signs in. */
  session(): string;
  report(state: ActState, detail: string, op_id?: string): void;
}

const UNDOABLE = 50;
const RETRY_AFTER = [1_000, 2_000, 5_000, 10_000, 20_000];

const isWaiting = (row: Row): boolean => row.state === "new" || row.state === "tried" || (row.state === "sent" && row.undo !== null);

export class Acts {
  /** False where the browser keeps nothing: acts live only as long as the page. */
  durable = true;
  #rows: Row[] = [];
  /** Acts that this page has seen waiting: it hears when the server refuses one of them. */
  #watched = new Set<string>();
  #verified = "";
  #running: Promise<void> | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #waitingFor: (() => void)[] = [];
  /** Done or undone here and not written down yet. */
  #writing = 0;
  #unwritten = new Map<string, Done>();

  constructor(readonly port: Port) {}

  static async open(user: number, report: Port["report"]): Promise<Acts> {
    const locks = navigator.locks as LockManager | undefined;
    const acts = new Acts({
      user,
      report,
      shelf: browserShelf,
      send: request,
      alone: (work) => (locks ? locks.request(`longhand:acts:${user}`, work) : work()),
      session: () => /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? "", // signing in makes a new one
    });
    const left = leftBehind(user);
    await acts.#change((rows) => left.acts.forEach((done) => rows.some(({ op_id }) => op_id === done.op_id) || rows.push(row(done, rows))));
    left.forget();
    addEventListener("pagehide", () => leaveBehind(user, acts.unwritten));
    for (const event of ["online", "focus"]) addEventListener(event, () => acts.wake());
    setTimeout(() => acts.wake());
    return acts;
  }

  /** Resolves when it is kept in this browser. `before` comes back with `undo`. */
  async do(act: Act, label: string, before?: unknown): Promise<Done> {
    const page = globalThis.location?.pathname ?? "";
    const done: Done = { op_id: randomId(), act, page, label, ...(before === undefined ? {} : { before }) };
    this.#unwritten.set(done.op_id, done);
    await this.#doHere((rows) => void rows.push(row(done, rows)));
    this.#unwritten.delete(done.op_id);
    return done;
  }

  /** Undo this person's newest act that stands. */
  async undo(): Promise<Done | null> {
    let found: Row | undefined;
    await this.#doHere((rows) => {
      found = newest(rows);
      if (found?.state === "new") rows.splice(rows.indexOf(found), 1);
      else if (found) found.undo = next(rows);
    });
    return found ? plain(found) : null;
  }

  last(): Done | null {
    const found = newest(this.#rows);
    return found ? plain(found) : null;
  }

  get waiting(): number {
    return this.#rows.filter(isWaiting).length + this.#writing;
  }

  /** What the server's pages do not know yet, in order. */
  get unsent(): Unsent[] {
    const waiting = this.#rows.filter(isWaiting).sort((a, b) => (a.undo ?? a.number) - (b.undo ?? b.number));
    return waiting.map((row) => ({ ...plain(row), undone: row.undo !== null }));
  }

  /** What would be lost if the page were closed now. */
  get unwritten(): Done[] {
    return [...this.#unwritten.values()];
  }

  settled(): Promise<void> {
    return this.waiting ? new Promise((resolve) => this.#waitingFor.push(resolve)) : Promise.resolve();
  }

  /** Send what waits now. Also looks at what other tabs have done meanwhile. */
  wake(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#running ??= this.port
      .alone(() => this.#send())
      .then(
        () => this.#rested(),
        (error: unknown) => this.#failed(error),
      )
      .finally(() => {
        this.#running = null;
        if (this.#rows.some(isWaiting) && this.#retry === undefined) this.wake(); // done while the last answer was being written down
      });
  }

  async #doHere(work: (rows: Row[]) => void): Promise<void> {
    this.#writing++;
    this.#begun();
    await this.#change(work);
    this.#writing--;
    this.#settle();
    if (this.waiting === 0) this.port.report("saved", "");
    if (this.#retry === undefined) this.wake();
  }

  /** While the server is away the page knows that already. */
  #begun(): void {
    if (!this.#failures) this.port.report("saving", "");
  }

  #settle(): void {
    if (this.waiting === 0) for (const resolve of this.#waitingFor.splice(0)) resolve();
  }

  async #send(): Promise<void> {
    for (let row = await this.#take(); row; row = await this.#take()) {
      this.#begun();
      await this.#verify();
      const { op_id, act } = row;
      const undoing = row.state === "sent";
      const path = `/api/acts/${op_id}`;
      const refused = await (undoing ? this.port.send("DELETE", path) : this.port.send("PUT", path, act)).then(() => null, final);
      await this.#change((rows) => answered(rows, op_id, undoing, refused));
      this.#failures = 0;
    }
  }

  /** What is to be sent next; from here on it may have arrived. */
  async #take(): Promise<Row | null> {
    let found: Row | undefined;
    await this.#change((rows) => {
      const turn = (row: Row): number => (row.state === "sent" ? row.undo! : row.number);
      found = rows.filter(isWaiting).sort((a, b) => turn(a) - turn(b))[0];
      if (found?.state === "new") found.state = "tried";
    });
    return found ?? null;
  }

  /** Another person who signed in in this browser must not be taken for the one who did this. */
  async #verify(): Promise<void> {
    const session = this.port.session();
    if (session !== "" && session === this.#verified) return;
    const me = await this.port.send<{ id: number }>("GET", "/api/me");
    if (me.id !== this.port.user) throw new ApiError(403, "somebody else is signed in");
    this.#verified = session;
  }

  #rested(): void {
    this.#failures = 0;
    this.port.report(this.waiting ? "saving" : "saved", "");
  }

  #failed(error: unknown): void {
    this.#verified = "";
    const [status, detail] = error instanceof ApiError ? [error.status, error.message] : [0, ""];
    if (status === 401 || status === 403) this.port.report("signed-out", detail.startsWith("somebody") ? detail : "");
    else this.port.report(status === 429 ? "saving" : "offline", "");
    const delay = RETRY_AFTER[Math.min(this.#failures++, RETRY_AFTER.length - 1)]!;
    this.#retry = setTimeout(() => this.wake(), delay * (0.75 + Math.random() / 2));
  }

  async #change(work: (rows: Row[]) => void): Promise<void> {
    const { user } = this.port;
    try {
      this.#rows = await this.port.shelf.change(user, work);
    } catch {
      this.durable = false;
      this.port.shelf = memoryShelf(this.#rows);
      this.#rows = await this.port.shelf.change(user, work);
    }
    for (const row of this.#rows) {
      if (isWaiting(row)) this.#watched.add(row.op_id);
      else if (this.#watched.delete(row.op_id) && row.state === "refused") this.port.report("refused", row.detail, row.op_id);
    }
    this.#settle();
  }
}

function answered(rows: Row[], op_id: string, undoing: boolean, refused: ApiError | null): void {
  const row = rows.find((one) => one.op_id === op_id);
  if (!row) return;
  const gone = undoing ? !refused || refused.status === 404 : refused && row.undo !== null;
  if (gone) return void rows.splice(rows.indexOf(row), 1);
  row.state = refused ? "refused" : "sent"; // an act whose undoing is refused stands, and is not in the way of older ones
  row.detail = refused?.message ?? "";
  const past = rows.filter((one) => !isWaiting(one)).sort((a, b) => b.number - a.number);
  for (const old of past.slice(UNDOABLE)) rows.splice(rows.indexOf(old), 1);
}

/** An answer that will not change; anything else is thrown, and tried again. */
function final(error: unknown): ApiError {
  if (error instanceof ApiError && error.status >= 400 && error.status < 500 && !error.signedOut && error.status !== 429) return error;
  throw error;
}

const next = (rows: Row[]): number => 1 + Math.max(0, ...rows.map((row) => row.undo ?? row.number));

const row = (done: Done, rows: Row[]): Row => ({ ...done, number: next(rows), undo: null, state: "new", detail: "" });

const newest = (rows: Row[]): Row | undefined =>
  rows.filter((row) => row.undo === null && row.state !== "refused").sort((a, b) => b.number - a.number)[0];

function plain({ op_id, act, page, label, before }: Row): Done {
  return { op_id, act, page, label, ...(before === undefined ? {} : { before }) };
}

const LEFT = "longhand:left:";

function leaveBehind(user: number, acts: Done[]): void {
  if (acts.length === 0) return;
  try {
    localStorage.setItem(`${LEFT}${user}:${randomId()}`, JSON.stringify(acts));
  } catch {
    // Full or forbidden: IndexedDB may still be quick enough.
  }
}

/** What closed pages left behind; forgotten when it is written down elsewhere. */
function leftBehind(user: number): { acts: Done[]; forget(): void } {
  try {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(`${LEFT}${user}:`));
    const acts = names.flatMap((name) => JSON.parse(localStorage.getItem(name)!) as Done[]);
    return { acts, forget: () => names.forEach((name) => localStorage.removeItem(name)) };
  } catch {
    return { acts: [], forget: () => undefined };
  }
}

const browserShelf: Shelf = {
  async change(user, work) {
    const database = await openDatabase();
    return new Promise((resolve, reject) => {
      const transaction = database.transaction("acts", "readwrite");
      const store = transaction.objectStore("acts");
      const asked: IDBRequest<{ rows: Row[] } | undefined> = store.get(user);
      let rows: Row[] = [];
      asked.onsuccess = () => {
        rows = asked.result?.rows ?? [];
        work(rows);
        store.put({ user, rows });
        transaction.commit();
      };
      transaction.oncomplete = () => resolve(rows);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? new Error("This browser keeps nothing"));
    });
  },
};

export function memoryShelf(begun: Row[] = []): Shelf {
  let kept = begun;
  return {
    change: async (_user, work) => {
      const rows = structuredClone(kept);
      work(rows);
      return (kept = rows);
    },
  };
}
