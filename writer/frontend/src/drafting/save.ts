/**
 * Saving what the writer changes, by itself, and never over somebody else's text.
 *
 * One save is under way at a time. It is written to the outbox first, under a name (`op_id`) by which the server knows it
 * again, so it can be sent once more when nobody knows whether it arrived. A save names the revision that it started
 * from; when another window saved in between, the server answers with both texts, and the writer chooses.
 */

import { ApiError, Unreachable } from "../shared/api";
import { randomId, storable } from "../shared/text";
import type { Savable } from "./growing";
import type { Kept, Save, Store } from "./outbox";

export interface Saved {
  revision: string;
  absorbed: number;
  words: number;
}

export interface Theirs {
  revision: string;
  absorbed: number;
  text: string;
  generation: string | null;
}

export type SaveState = "saved" | "unsaved" | "saving" | "offline" | "signed-out" | "conflict" | "refused" | "gone";

export interface Port {
  savable(): Savable;
  send(save: Save): Promise<Saved>;
  store: Store;
  report(state: SaveState, detail: string): void;
  conflict(theirs: Theirs): void;
}

const KEEP_AFTER = 150;
const SAVE_AFTER = 1_000;
/** A writer who never pauses for a second is saved at least this often. */
const SAVE_AT_LEAST = 10_000;
const RETRY_AFTER = [1_000, 2_000, 5_000, 10_000, 20_000];

export class Saver {
  state: SaveState = "saved";
  #dirty = false;
  #sent: Save | null = null;
  #running: Promise<void> | null = null;
  #failures = 0;
  #keeping: ReturnType<typeof setTimeout> | undefined;
  #saving: ReturnType<typeof setTimeout> | undefined;
  #waitingSince = 0;

  constructor(
    readonly port: Port,
    public base: string,
  ) {}

  /** Nothing is waiting to be saved. */
  get clean(): boolean {
    return !this.#dirty && !this.#sent;
  }

  /** The text changed. */
  touch(): void {
    if (!this.#dirty) this.#waitingSince = Date.now();
    this.#dirty = true;
    this.#keeping ??= setTimeout(() => void this.keep(), KEEP_AFTER);
    if (this.state === "saved" || this.state === "refused") this.#setState("unsaved");
    if (this.state === "unsaved") this.#schedule(Math.min(SAVE_AFTER, this.#waitingSince + SAVE_AT_LEAST - Date.now()));
  }

  /** Write what is not saved into the outbox now. */
  async keep(): Promise<void> {
    clearTimeout(this.#keeping);
    this.#keeping = undefined;
    await this.port.store.keep(this.#sent, this.#dirty ? this.#compose() : null).catch(() => undefined);
  }

  /** The page is being closed. */
  part(): void {
    this.port.store.part(this.#sent, this.#dirty ? this.#compose() : null);
  }

  /** Take up what an earlier window left behind; the editor shows it already. */
  restore(kept: Kept): void {
    this.base = (kept.sent ?? kept.draft)?.base_revision ?? this.base;
    this.#sent = kept.sent;
    this.#dirty = kept.draft !== null;
    this.#setState("unsaved");
    void this.keep();
    void this.save();
  }

  /** Save now. True when everything is on the server afterwards. */
  async save(): Promise<boolean> {
    clearTimeout(this.#saving);
    if (this.state === "conflict" || this.state === "gone") return false;
    const underWay = this.#running;
    await (this.#running ??= this.#start());
    // What was under way already may not hold the last keystroke.
    if (underWay && (this.state as SaveState) === "unsaved") await (this.#running ??= this.#start());
    return this.clean;
  }

  /** The writer keeps this text: it becomes the newer version, on top of theirs. */
  async keepMine(theirs: Theirs): Promise<boolean> {
    this.base = theirs.revision;
    this.#sent = null;
    this.#dirty = true;
    this.#setState("unsaved");
    await this.keep();
    return this.save();
  }

  /** The editor shows this revision now, and nothing of ours is on top of it. */
  async rebase(revision: string): Promise<void> {
    clearTimeout(this.#saving);
    this.base = revision;
    this.#sent = null;
    this.#dirty = false;
    this.#setState("saved");
    await this.keep();
  }

  #compose(): Save {
    const { text, absorbed } = this.port.savable();
    return { base_revision: this.base, absorbed, text: storable(text), op_id: randomId() };
  }

  #start(): Promise<void> {
    return this.#send().finally(() => (this.#running = null));
  }

  async #send(): Promise<void> {
    if (this.clean) return;
    if (!this.#sent) {
      this.#sent = this.#compose();
      this.#dirty = false;
    }
    const sent = this.#sent;
    this.#setState("saving");
    await this.keep(); // before it goes out: a crash must not forget its name
    try {
      const saved = await this.port.send(sent);
      if (this.#sent !== sent) return; // a choice between two versions was made meanwhile
      this.#sent = null;
      this.#failures = 0;
      this.base = saved.revision;
      await this.keep();
      if (this.#dirty) this.#schedule(SAVE_AFTER);
      this.#setState(this.#dirty ? "unsaved" : "saved");
    } catch (error) {
      if (this.#sent === sent) this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    if (error instanceof Unreachable || (error instanceof ApiError && error.status >= 500)) {
      this.#again("offline");
    } else if (error instanceof ApiError && error.signedOut) {
      this.#again("signed-out");
    } else if (error instanceof ApiError && error.status === 404) {
      this.#setState("gone");
    } else if (error instanceof ApiError && error.status === 409 && error.body.theirs) {
      this.#setState("conflict");
      this.port.conflict(error.body.theirs as Theirs);
    } else {
      this.#sent = null; // the server will not have it as it is; the next try composes it anew
      this.#dirty = true;
      this.#again("refused", error instanceof Error ? error.message : String(error));
    }
  }

  #again(state: SaveState, detail = ""): void {
    this.#setState(state, detail);
    const delay = RETRY_AFTER[Math.min(this.#failures++, RETRY_AFTER.length - 1)]!;
    this.#schedule(delay * (0.75 + Math.random() / 2));
  }

  #schedule(delay: number): void {
    clearTimeout(this.#saving);
    this.#saving = setTimeout(() => void this.save(), Math.max(0, delay));
  }

  #setState(state: SaveState, detail = ""): void {
    this.state = state;
    this.port.report(state, detail);
  }
}
