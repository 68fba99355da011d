/** The marking page: a text, the marks of one editor on it, and the keys to make them. */

import "../shared/site.css";
import "../shared/prose.css";
import "../shared/desk.css";
import "./marking.css";
import { request } from "../shared/api";
import { element, number, say, show } from "../shared/page";
import { points, randomId } from "../shared/text";
import { ACT_WORDS, type Act, Acts, type ActState, type Unsent } from "./acts";
import type { Span } from "./blocks";
import { Cursor } from "./cursor";
import { MarkButton } from "./markbutton";
import { MarkList } from "./marklist";
import { Palette } from "./palette";
import { LAYER_OF, type Mark, Passages, SEVERITIES } from "./passages";
import type { Principle } from "./principles";
import { Sheet } from "./sheet";
import { TextView } from "./textview";
import { spanOf } from "./walk";

interface Given {
  user: number;
  take: { id: number; text: string };
  marks: Mark[];
  palette: Principle[];
  urls: { here: string };
  finished?: boolean;
}

const MOST = 5_000; // characters in one mark, as operations/mark.py has it

const given = JSON.parse(element("marking").textContent) as Given;

class Page {
  readonly view = new TextView(element("text"), given.take.text, "The text");
  readonly cursor = new Cursor(this.view);
  readonly palette = new Palette(given.palette, given.user);
  readonly sheet = new Sheet(this.view);
  readonly passages = new Passages(given.marks, given.palette, given.take.id);
  readonly list: MarkList;
  acts: Acts | null = null;
  #active: string | null = null;
  /** What was done or undone here and may still be refused, by its name. */
  #doings = new Map<string, Unsent>();
  #changes = 0;
  /** Announced when the keys have come to rest: a screen reader cannot say each word of a quick walk. */
  #saying: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.passages.finished = given.finished ?? false;
    this.list = new MarkList(element("marks"), {
      go: (id, stay) => this.go(id, stay),
      edit: (id) => void this.edit(id),
      remove: (id) => void this.remove(id),
    });
    const text = this.view.place;
    text.addEventListener("keydown", (event) => this.#press(event));
    text.addEventListener("click", (event) => this.#click(event));
    text.addEventListener("focus", () => {
      // It is seen where the keys begin.
      if (text.matches(":focus-visible")) this.view.select(this.view.course ?? this.cursor.first());
    });
    document.addEventListener("keydown", (event) => this.#pressAnywhere(event));
    new MarkButton(this.cursor, this.palette, () => void this.mark());
    element("undo").addEventListener("click", () => void this.undo());
    const finish: Act = { kind: "finish", take: given.take.id };
    element("finish").addEventListener("click", () => void this.#do(finish, "Finished this text"));
    element("show-keys").addEventListener("click", () => this.#keys());
    document.addEventListener("visibilitychange", () => void (document.visibilityState === "visible" && this.refresh()));
    this.draw();
    void this.#open();
  }

  async #open(): Promise<void> {
    this.acts = await Acts.open(given.user, (state, detail, op_id) => this.#showState(state, detail, op_id));
    show(element("kept"), !this.acts.durable);
    for (const doing of this.acts.unsent) this.#doings.set(doing.op_id, doing);
    this.passages.reset(given.marks, this.acts.unsent);
    this.draw();
    this.#saveState(this.acts.waiting ? "saving" : "saved", "");
    document.body.dataset.ready = "";
  }

  draw(): void {
    const marks = this.passages.all;
    this.view.paint(marks.map((mark) => ({ id: mark.id, layer: LAYER_OF[mark.severity] ?? "major", ...this.#spanOf(mark) })));
    this.list.show(marks);
    for (const place of document.querySelectorAll<HTMLElement>(".mark-count")) say(place, number(marks.length));
    show(element("no-marks"), marks.length === 0);
    show(element("finish"), !this.passages.finished);
    show(element("finished"), this.passages.finished);
    this.activate(this.#active !== null && this.passages.get(this.#active) ? this.#active : null);
    this.#drawUndo();
  }

  activate(id: string | null): void {
    this.#active = id;
    const mark = id === null ? undefined : this.passages.get(id);
    this.view.layer("active", mark ? [this.#spanOf(mark)] : []);
    this.list.activate(id);
  }

  #spanOf({ start, end }: Mark): Span {
    return { start: this.view.blocks.toUnit(start), end: this.view.blocks.toUnit(end) };
  }

  // Acts

  async mark(): Promise<void> {
    const words = this.cursor.words;
    if (!words || !this.acts) return this.#say("Select some words first.");
    const { blocks } = this.view;
    const quote = blocks.text.slice(words.start, words.end);
    const long = points(quote);
    if (long > MOST) return this.#complain(`These are ${number(long)} characters. ${number(MOST)} can be marked at once.`);
    const wording = await this.#ask(words, quote);
    if (!wording) return;
    const span = { start: blocks.toPoint(words.start), end: blocks.toPoint(words.end) };
    // A UUID also where there is no https, without which browsers make none.
    const id = randomId().replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, "$1-$2-4$3-a$4-$5");
    this.#active = id;
    await this.#do({ kind: "mark", id, take: given.take.id, ...span, quote, ...wording }, `Mark: ${this.#name(wording.version)}`);
    this.#say(`Marked: ${this.#name(wording.version)}, ${SEVERITIES[wording.severity]!.toLowerCase()}.`);
  }

  async edit(id: string): Promise<void> {
    const mark = this.passages.get(id);
    if (!mark) return;
    this.activate(id);
    const wording = await this.#ask(this.#spanOf(mark), mark.quote, mark);
    if (!wording || !this.passages.get(id)) return;
    if ((["version", "severity", "note", "better"] as const).every((name) => wording[name] === mark[name])) return;
    const name = wording.version === mark.version ? mark.principle : this.#name(wording.version);
    await this.#do({ kind: "remark", id, ...wording }, `Change: ${name}`, mark);
    this.#say(`Changed: ${name}, ${SEVERITIES[wording.severity]!.toLowerCase()}.`);
  }

  async remove(id: string): Promise<void> {
    const mark = this.passages.get(id);
    if (!mark) return;
    const all = this.passages.all;
    const next = all[all.indexOf(mark) + 1] ?? all[all.indexOf(mark) - 1];
    const inList = element("marks").contains(document.activeElement);
    const kept = this.#do({ kind: "unmark", id }, `Remove: ${mark.principle}`, mark);
    if (inList && next) this.list.focus(next.id);
    else this.#focus();
    await kept;
    this.#say(`Removed: ${mark.principle}.`);
  }

  async undo(): Promise<void> {
    const done = await this.acts?.undo();
    if (!done) return this.#say("There is nothing to undo.");
    const elsewhere = done.page !== given.urls.here;
    this.#changes++;
    this.#doings.set(done.op_id, { ...done, undone: true });
    this.passages.revert(done);
    this.draw();
    show(element("elsewhere"), elsewhere);
    if (elsewhere) {
      say(element("elsewhere-label"), done.label);
      element<HTMLAnchorElement>("elsewhere-link").href = done.page;
    }
    this.#say(`Undone: ${done.label}${elsewhere ? ", on another page" : ""}.`);
  }

  async #do(act: Act, label: string, mark?: Mark): Promise<void> {
    if (!this.acts) return;
    this.#changes++;
    const kept = this.acts.do(act, label, mark && { take: given.take.id, mark });
    this.passages.apply({ op_id: "", act, page: "", label }); // shown at once; what is refused is undone
    this.draw();
    for (const id of ["problem", "elsewhere"]) show(element(id), false);
    const done = await kept;
    this.#doings.set(done.op_id, { ...done, undone: false });
    show(element("kept"), !this.acts.durable);
    this.#drawUndo();
  }

  #ask(words: Span, quote: string, begun?: Mark) {
    const from = document.activeElement;
    this.view.reveal(words);
    this.view.layer("chosen", [words]);
    const asked = this.palette.ask(quote, this.view.boxOf(words), begun);
    return asked.finally(() => {
      if (this.palette.isOpen) return; // for other words by now
      this.view.layer("chosen", []);
      if (from instanceof HTMLElement && from.closest(".marks")) from.focus({ preventScroll: true });
      else this.#focus();
    });
  }

  /** Back to the text, with what was selected in it. */
  #focus(): void {
    this.view.place.focus({ preventScroll: true });
    if (this.view.course) this.view.select(this.view.course);
  }

  #name(version: number): string {
    return given.palette.find((one) => one.version === version)?.name ?? "an older principle";
  }

  /** The marks as the server has them, and what it has not heard yet on top: another window may have been at work. */
  async refresh(): Promise<void> {
    if (!this.acts) return;
    const [unsent, changes] = [this.acts.unsent, this.#changes];
    for (const doing of unsent) this.#doings.set(doing.op_id, doing);
    const marks = await request<Mark[]>("GET", `/api/takes/${given.take.id}/marks`).catch(() => null);
    if (!marks) return;
    if (this.#changes !== changes) return this.refresh(); // the answer may be older than what was done meanwhile
    this.passages.reset(marks, unsent); // what was sent while we asked is applied once more: twice changes nothing
    this.draw();
  }

  #showState(state: ActState, detail: string, op_id?: string): void {
    if (state !== "refused") {
      this.#saveState(state, detail);
      return this.#drawUndo();
    }
    const doing = this.#doings.get(op_id ?? "");
    if (!doing) return;
    this.#changes++;
    this.#doings.delete(doing.op_id);
    if (doing.undone) this.passages.apply(doing);
    else this.passages.revert(doing);
    this.draw();
    const what = doing.page === given.urls.here ? "" : ` (${doing.label}, on another page)`;
    this.#complain(`${ACT_WORDS.refused}${what}: ${detail}`);
    void this.refresh();
  }

  #complain(words: string): void {
    say(element("problem"), words);
    show(element("problem"), true);
  }

  #saveState(state: ActState, detail: string): void {
    const line = element("save-state");
    line.dataset.state = state;
    say(line, detail ? `${ACT_WORDS[state]}: ${detail}` : ACT_WORDS[state]);
    const signIn = element("sign-in");
    show(signIn, state === "signed-out" || (state === "saving" && !signIn.hidden)); // not taken away under a pointer by a retry
  }

  #drawUndo(): void {
    const last = this.acts?.last() ?? null;
    const button = element<HTMLButtonElement>("undo");
    button.disabled = last === null;
    say(element("undo-label"), last ? `${last.label}${last.page === given.urls.here ? "" : " (another page)"}` : "");
  }

  // Going from mark to mark

  go(id: string, stay: boolean): void {
    const mark = this.passages.get(id);
    if (!mark) return;
    const span = this.#spanOf(mark);
    if (!stay) this.sheet.close();
    this.activate(id);
    this.view.reveal(span);
    if (stay) return;
    this.view.select({ base: span.start, head: span.start });
    this.view.place.focus({ preventScroll: true });
    this.activate(id);
  }

  #step(by: 1 | -1): void {
    const marks = this.passages.all;
    const here = marks.findIndex(({ id }) => id === this.#active);
    const at = this.view.blocks.toPoint(this.cursor.course.base);
    let next = here + by;
    if (here < 0) next = by > 0 ? marks.findIndex(({ start }) => start >= at) : marks.findLastIndex(({ start }) => start < at);
    const mark = next < 0 ? undefined : marks[next];
    if (!mark) return this.#say(by > 0 ? "This was the last mark." : "This was the first mark.");
    this.go(mark.id, false);
    const severity = SEVERITIES[mark.severity]!.toLowerCase();
    this.#say(`${next + 1} of ${marks.length}: ${mark.quote}. ${mark.principle}, ${severity}. ${mark.note}`);
  }

  // Keys and pointer

  #press(event: KeyboardEvent): void {
    if (event.isComposing || event.defaultPrevented) return;
    if (this.cursor.press(event)) {
      event.preventDefault();
      this.#moved();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys: Record<string, () => void> = {
      Enter: () => void this.mark(),
      m: () => void this.mark(),
      n: () => this.#step(1),
      p: () => this.#step(-1),
      e: () => (this.#active ? void this.edit(this.#active) : this.#say("There is no mark here.")),
      Delete: () => (this.#active ? void this.remove(this.#active) : this.#say("There is no mark here.")),
      u: () => void this.undo(),
      "?": () => this.#keys(),
      Escape: () => this.activate(null),
    };
    const wish = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!wish) return;
    event.preventDefault();
    wish();
  }

  #pressAnywhere(event: KeyboardEvent): void {
    const typing = (event.target as Element).closest("input, textarea, select, dialog");
    if (typing || event.shiftKey || event.altKey || event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    void this.undo();
  }

  /** The cursor has come to other words: the mark that it is in becomes the active one. */
  #moved(): void {
    const course = this.view.course;
    if (!course) return;
    const found = this.view.marksAt(spanOf(course).start);
    if (!found.some(({ id }) => id === this.#active)) this.activate(found[0]?.id ?? null);
    const { start, end } = spanOf(course);
    clearTimeout(this.#saying);
    this.#saying = setTimeout(() => this.#say(this.view.blocks.text.slice(start, end)), 250);
  }

  #click(event: MouseEvent): void {
    const course = this.view.course;
    if (course && course.base !== course.head && !getSelection()?.isCollapsed) return;
    const unit = this.view.under(event.clientX, event.clientY);
    const found = unit === null ? [] : this.view.marksAt(unit);
    // Where marks overlap, each click goes to the next of them.
    const here = found.findIndex(({ id }) => id === this.#active);
    const next = found[(here + 1) % Math.max(1, found.length)];
    this.activate(next?.id ?? null);
    if (!next) return;
    this.sheet.open(next);
    this.list.activate(next.id);
  }

  #keys(): void {
    element<HTMLDialogElement>("keys").showModal();
  }

  #say(words: string): void {
    clearTimeout(this.#saying);
    const spoken = element("spoken");
    say(spoken, spoken.textContent === words ? `${words}\u00a0` : words); // the same words again are said again
  }
}

new Page();
