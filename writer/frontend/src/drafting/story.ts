/** The drafting page: the text, what writes it, and what keeps it. */

import "../shared/site.css";
import "../shared/prose.css";
import "../shared/desk.css";
import "./story.css";
import "prosemirror-view/style/prosemirror.css";
import { ApiError, request } from "../shared/api";
import { copy, element, say, show } from "../shared/page";
import { indexOfPoint, points } from "../shared/text";
import * as conflict from "./conflict";
import { Controls } from "./controls";
import { Editor, type Opening } from "./editor";
import { Follower } from "./follow";
import { aside, type Kept, Outbox, type Store } from "./outbox";
import { tailOf } from "./log";
import { isLive, type End, Reader, type Row } from "./reader";
import { type Saved, Saver, type SaveState, type Theirs } from "./save";
import { Connection, GONE, SIGNED_OUT } from "./socket";
import { Speed } from "./speed";
import { StatusView } from "./status";

interface StoryData {
  id: string;
  target_words: number;
  revision: string;
  text: string;
  absorbed: number;
  full_text: string;
  generation: (Omit<Row, "type" | "revision" | "model_ready"> & { id: string; story_chars: number }) | null;
}

const SAVE_WORDS: Record<SaveState, string> = {
  saved: "Saved",
  unsaved: "Not saved yet",
  saving: "Saving…",
  offline: "Offline: kept in this browser",
  "signed-out": "Signed out: kept in this browser",
  conflict: "Changed in another window",
  refused: "Not saved",
  gone: "This story was deleted elsewhere. Your text is still on this page.",
};

const given = JSON.parse(element("story").textContent) as StoryData;
const generation = given.generation;

class Page {
  readonly reader = new Reader();
  readonly speed = new Speed();
  readonly status = new StatusView();
  readonly follower = new Follower(element<HTMLButtonElement>("jump"), element("end"));
  readonly controls: Controls;
  readonly editor: Editor;
  readonly saver: Saver;
  /** The window's outbox, once the browser has opened it. */
  outbox: Store = { keep: () => Promise.resolve(), part: () => undefined };
  row: Partial<Row> & Pick<Row, "state" | "wish" | "ending" | "notice" | "place" | "target" | "model_ready"> | null =
    generation ? { ...generation, model_ready: true } : null;
  connected = false;

  constructor() {
    const place = element("editor");
    place.replaceChildren();
    this.editor = new Editor(place, opening(given), {
      changed: () => {
        this.saver.touch();
        this.draw();
      },
      save: () => void this.saver.save(),
      blurred: () => void this.saver.save(),
    });
    this.saver = new Saver(
      {
        savable: () => this.savable,
        send: (save) => request<Saved>("PUT", `/api/stories/${given.id}/text`, save),
        store: { keep: (sent, draft) => this.outbox.keep(sent, draft), part: (sent, draft) => this.outbox.part(sent, draft) },
        report: (state, detail) => this.#saveState(state, detail),
        conflict: (theirs) => void this.choose(theirs),
      },
      given.revision,
    );
    this.controls = new Controls(given.id, generation?.id ?? null, () => this.saver.save());
    this.editor.live = isLive(generation?.state);
    this.follower.live = this.editor.live;
    this.draw();
    element("choose").addEventListener("click", () => void this.choose(null));
    addEventListener("pagehide", () => this.saver.part());
    addEventListener("online", () => void this.saver.save());
    addEventListener("focus", () => void this.saver.save());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") void this.saver.keep();
      void this.saver.save();
    });
    // A pace that is not measured any more, and a time left that passes, are drawn again without news.
    setInterval(() => this.editor.live && this.#tick(), 1_000);
    void this.#openOutbox();
    if (generation) this.#connect(generation.id);
  }

  #connect(id: string): void {
    const connection: Connection = new Connection(id, this.reader, {
      connected: (yes) => {
        if (yes === this.connected) return;
        this.connected = yes;
        this.speed.forget();
        this.draw();
      },
      effect: (effect) => {
        if (effect.do === "row") this.#row(effect.row);
        if (effect.do === "verify") this.#ended(effect.end);
        if (effect.do !== "append") return;
        if (effect.channel === "thinking") return this.#planning();
        this.editor.show(effect.text, this.reader.story.points - points(effect.text));
        this.#grown();
      },
      verified: (same) => {
        if (same) document.body.dataset.verified = String(this.reader.seq);
        else delete document.body.dataset.verified;
      },
      refused: (code) => void this.#refused(code, connection),
    });
  }

  #row(row: Row): void {
    const before = this.row?.state;
    this.row = row;
    if (before !== row.state) this.speed.forget();
    if (isLive(row.state) || row.last_seq <= this.reader.seq) this.#rest(!isLive(row.state));
    if (row.revision !== this.saver.base && this.saver.state !== "saving") void this.refresh();
    this.draw();
  }

  #ended(end: End): void {
    if (this.row) this.row = { ...this.row, state: end.state, ending: end.ending };
    this.#rest(true);
    this.draw();
  }

  /** At rest the whole text is the writer's; while it is written, its last paragraph is not. */
  #rest(resting: boolean): void {
    this.editor.live = !resting;
    this.follower.live = !resting;
  }

  #grown(): void {
    this.speed.saw(this.editor.words, Date.now());
    this.draw();
    this.follower.grown();
  }

  #tick(): void {
    this.speed.saw(this.editor.words, Date.now());
    this.draw();
  }

  #planning(): void {
    say(element("thinking"), this.reader.thinking.text.trim());
    show(element("planning"), true);
  }

  draw(): void {
    const words = this.editor.words;
    this.status.show({ row: this.row, words, asked: given.target_words, connected: this.connected || !generation }, this.speed);
    this.controls.show(this.row, words);
  }

  /** Another window saved, or asked for more: show what it is now, unless something of ours waits to be saved. */
  async refresh(): Promise<void> {
    const now = await request<StoryData>("GET", `/api/stories/${given.id}`).catch(() => null);
    if (!now || now.revision === this.saver.base || !this.saver.clean) return;
    if (now.generation?.id !== generation?.id) return location.reload();
    this.editor.replace(this.#openingOf(now));
    await this.saver.rebase(now.revision);
    this.draw();
  }

  async choose(saved: Theirs | null): Promise<void> {
    const now = await request<StoryData>("GET", `/api/stories/${given.id}`).catch(() => null);
    const theirs = now ?? (saved && { ...saved, full_text: saved.text, generation });
    if (!theirs) return;
    const mine = this.editor.text;
    const choice = await conflict.ask({ mine, theirs: theirs.full_text });
    if (choice === "later") return;
    const elsewhere = theirs.generation?.id !== generation?.id;
    if (choice === "theirs") {
      await aside.put(given.id, mine).catch(() => undefined);
      await this.saver.rebase(theirs.revision);
      if (elsewhere) return location.reload();
      this.editor.replace(this.#openingOf(theirs));
      void this.#showAside();
    } else {
      const newer = { revision: theirs.revision, absorbed: theirs.absorbed, text: theirs.text, generation: null };
      if (elsewhere) this.#foreign = { text: mine, absorbed: theirs.absorbed };
      const saved = await this.saver.keepMine(newer);
      if (elsewhere && saved) return location.reload();
    }
    this.draw();
  }

  /** What to save when the head belongs to another generation, whose log this page does not have. */
  #foreign: { text: string; absorbed: number } | null = null;

  get savable(): { text: string; absorbed: number } {
    return this.#foreign ?? this.editor.savable;
  }

  #openingOf(story: Pick<StoryData, "text" | "absorbed" | "full_text" | "generation">): Opening {
    const log = this.reader.story;
    if (log.points < story.absorbed) return opening(story);
    return { text: story.text, absorbed: story.absorbed, tail: log.text.slice(indexOfPoint(log.text, story.absorbed)) };
  }

  async #openOutbox(): Promise<void> {
    try {
      const { outbox, left } = await Outbox.of(given.id);
      this.outbox = outbox;
      for (const older of left.slice(0, -1)) {
        await aside.put(given.id, (older.draft ?? older.sent)?.text ?? "");
        await outbox.forget(older.window);
      }
      const kept = left.at(-1);
      if (kept) this.#restore(kept);
      if (kept && kept.window !== outbox.window) await outbox.forget(kept.window);
    } catch {
      say(element("kept"), "This browser keeps nothing (private window?). Changes are saved only while the server answers.");
      show(element("kept"), true);
    }
    void this.#showAside();
  }

  #restore(kept: Kept): void {
    const mine = (kept.draft ?? kept.sent)!;
    const log = this.reader.story;
    const page = opening(given);
    let tail = "";
    if (log.points >= mine.absorbed) tail = log.text.slice(indexOfPoint(log.text, mine.absorbed));
    else if (mine.absorbed >= given.absorbed) tail = page.tail.slice(indexOfPoint(page.tail, mine.absorbed - given.absorbed));
    this.editor.replace({ text: mine.text, absorbed: mine.absorbed, tail });
    this.saver.restore(kept);
    this.draw();
  }

  async #showAside(): Promise<void> {
    const text = await aside.get(given.id).catch(() => undefined);
    show(element("aside"), Boolean(text));
    if (!text) return;
    const button = element<HTMLButtonElement>("copy-aside");
    button.onclick = () => void copy(text, button);
    element("drop-aside").onclick = () => void aside.drop(given.id).then(() => show(element("aside"), false));
  }

  #saveState(state: SaveState, detail: string): void {
    const line = element("save-state");
    line.dataset.state = state;
    say(line, detail ? `${SAVE_WORDS[state]}: ${detail}` : SAVE_WORDS[state]);
    const signIn = element("sign-in");
    show(signIn, state === "signed-out" || (state === "saving" && !signIn.hidden)); // not taken away under a pointer by a retry
    show(element("choose"), state === "conflict");
  }

  /** A refused handshake looks like a lost connection; the API says what it was. */
  async #refused(code: number, connection: Connection): Promise<void> {
    const why = code || (await request("GET", `/api/generations/${connection.generation}`).then(() => 0, (error: unknown) => (error instanceof ApiError ? 4000 + error.status : 0)));
    if (why === SIGNED_OUT && this.saver.clean) this.#saveState("signed-out", "");
    if (why === GONE) {
      connection.close();
      this.#saveState("gone", "");
    }
  }
}

function opening({ text, absorbed, full_text, generation }: Pick<StoryData, "text" | "absorbed" | "full_text" | "generation">): Opening {
  return { text, absorbed, tail: generation ? tailOf(full_text, generation.story_chars - absorbed) : "" };
}

new Page();
