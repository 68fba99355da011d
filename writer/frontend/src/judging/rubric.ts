/** A text scored by the rubric: sixteen dimensions and two catch-alls, each with its bands, an exact score and a note. */

import "../shared/site.css";
import "../shared/prose.css";
import "../shared/desk.css";
import "./judging.css";
import "./rubric.css";
import { element, say, show } from "../shared/page";
import { paragraphs } from "../shared/text";
import { ACT_WORDS, Acts, type ActState } from "./acts";
import { clearAway, Kept } from "./kept";
import { isField, listen } from "./keys";
import { drawn } from "./panes";

/** As `training.common.rubric.Scores` has it. */
interface Sheet {
  scores: Record<string, number>;
  bonus: number;
  penalty: number;
  notes: Record<string, string>;
}

/** What was filled in so far, by key: P1 to N10, BONUS, PENALTY. */
interface Filled {
  scores: Record<string, number>;
  notes: Record<string, string>;
}

interface Data {
  user: number;
  take: number;
  sheet: Sheet | null;
  urls: { here: string };
}

/** As `training.common.rubric.LABELS` has it. */
const LABELS: readonly (readonly [number, string])[] = [[75, "excellent"], [55, "good"], [35, "fair"], [15, "poor"]];
const labelOf = (overall: number): string => LABELS.find(([lowest]) => overall >= lowest)?.[1] ?? "very poor";

/** One of the eighteen, as it stands in the form. */
class Dimension {
  readonly key: string;
  readonly bands: HTMLInputElement[];
  readonly #exact: HTMLInputElement;
  readonly #note: HTMLTextAreaElement;

  constructor(readonly root: HTMLElement) {
    this.key = root.id;
    this.bands = [...root.querySelectorAll<HTMLInputElement>("[type=radio]")];
    this.#exact = root.querySelector<HTMLInputElement>("[type=number]")!;
    this.#note = root.querySelector("textarea")!;
    root.addEventListener("input", (event) => {
      const band = this.bands.find((one) => one === event.target);
      if (band) this.#exact.value = String(Math.round((low(band) + high(band)) / 2));
      else if (event.target === this.#exact) this.#drawBand();
    });
  }

  get most(): number {
    return Number(this.#exact.max);
  }

  /** null while there is no whole number that the dimension allows. */
  get score(): number | null {
    const { value } = this.#exact;
    return /^\d+$/.test(value) && Number(value) <= this.most ? Number(value) : null;
  }

  set score(score: number | null) {
    this.#exact.value = score === null ? "" : String(score);
    this.#drawBand();
  }

  get note(): string {
    return this.#note.value.trim();
  }

  set note(note: string) {
    this.#note.value = note;
  }

  /** Choose a band, 1 to 4. */
  choose(number: number): void {
    this.bands[number - 1]?.click();
    this.bands[number - 1]?.focus();
  }

  focus(): void {
    this.root.scrollIntoView({ block: "start" });
    (this.bands.find((band) => band.checked) ?? this.bands[0])?.focus({ preventScroll: true });
  }

  #drawBand(): void {
    const { score } = this;
    for (const band of this.bands) band.checked = score !== null && low(band) <= score && score <= high(band);
  }
}

const low = (band: HTMLInputElement): number => Number(band.dataset.low);
const high = (band: HTMLInputElement): number => Number(band.dataset.high);

const data = JSON.parse(element("rubric").textContent) as Data;

class Page {
  readonly dimensions = [...document.querySelectorAll<HTMLElement>(".dimension")].map((root) => new Dimension(root));
  readonly draft = new Kept<Filled>("rubric", data.user, data.take);
  readonly acts: Promise<Acts>;
  #stored: string | null = null;

  constructor() {
    clearAway("rubric");
    const text = JSON.parse(element("text-data").textContent) as string;
    element("text").firstElementChild!.replaceChildren(...paragraphs(text).map(drawn));
    this.#fill(this.draft.get() ?? filledOf(data.sheet));
    this.#listen();
    this.#draw();
    this.acts = Acts.open(data.user, (state, detail, op_id) => this.#showState(state, detail, op_id));
    void this.acts.then((acts) => this.#begin(acts));
  }

  #begin(acts: Acts): void {
    const mine = acts.unsent.filter(({ act, undone }) => act.kind === "rubric" && act.take === data.take && !undone).at(-1);
    if (mine && !this.draft.get()) this.#fill(filledOf(mine.act.sheet as Sheet));
    this.#draw();
    void this.#drawUndo();
  }

  get #filled(): Filled {
    const scored = this.dimensions.flatMap(({ key, score }): [string, number][] => (score === null ? [] : [[key, score]]));
    const noted = this.dimensions.flatMap(({ key, note }): [string, string][] => (note ? [[key, note]] : []));
    return { scores: Object.fromEntries(scored), notes: Object.fromEntries(noted) };
  }

  #fill({ scores, notes }: Filled): void {
    for (const dimension of this.dimensions) {
      dimension.score = scores[dimension.key] ?? null;
      dimension.note = notes[dimension.key] ?? "";
    }
  }

  get #missing(): Dimension[] {
    return this.dimensions.filter(({ score }) => score === null);
  }

  #draw(): void {
    const missing = this.#missing;
    const { scores } = this.#filled;
    const overall = Object.entries(scores).reduce((sum, [key, score]) => sum + (/^(P\d|BONUS)/.test(key) ? score : -score), 0);
    for (const dimension of this.dimensions) dimension.root.classList.toggle("scored", dimension.score !== null);
    say(element("total"), missing.length === this.dimensions.length ? "–" : String(overall).replace("-", "−"));
    say(element("label"), missing.length ? "so far" : labelOf(overall));
    const few = missing.length > 6 ? `${missing.length} of ${this.dimensions.length}` : missing.map(({ key }) => key).join(", ");
    say(element("missing"), missing.length ? `Still to score: ${few}` : "");
    show(element("go-missing"), missing.length > 0);
  }

  #changed(): void {
    this.draft.set(this.#filled);
    this.#draw();
  }

  async #store(): Promise<void> {
    const [first] = this.#missing;
    if (first) {
      this.#show("form");
      first.focus();
      return this.#say(`${first.key} has no score yet: choose a band, or give a whole number from 0 to ${first.most}.`);
    }
    const { scores, notes } = this.#filled;
    const { BONUS, PENALTY, ...rest } = scores;
    const sheet = { scores: rest, bonus: BONUS!, penalty: PENALTY!, notes };
    const { op_id } = await (await this.acts).do({ kind: "rubric", take: data.take, sheet }, "Rubric");
    this.#stored = op_id;
    this.draft.drop();
    this.#say(`Saved: ${element("total").textContent}, ${element("label").textContent}.`);
    void this.#drawUndo();
  }

  async #undo(): Promise<void> {
    const done = await (await this.acts).undo();
    if (!done) return this.#say("There is nothing to undo.");
    const mine = done.act.kind === "rubric" && done.act.take === data.take;
    if (mine) this.draft.set(this.#filled);
    this.#say(mine ? "Undone. What you filled in is still here." : `Undone: ${done.label}.`);
    void this.#drawUndo();
  }

  async #drawUndo(): Promise<void> {
    const last = (await this.acts).last();
    show(element("undo"), last !== null);
    element("undo").title = last ? `Undo: ${last.label}` : "";
  }

  #showState(state: ActState, detail: string, op_id?: string): void {
    if (state === "refused") {
      if (op_id === this.#stored) this.draft.set(this.#filled);
      return this.#say(`That was not saved. ${detail}`);
    }
    const line = element("save-state");
    line.dataset.state = state;
    say(line, ACT_WORDS[state] + (detail && `: ${detail}`));
    const signIn = element("sign-in");
    show(signIn, state === "signed-out" || (state === "saving" && !signIn.hidden)); // not taken away under a pointer by a retry
  }

  #say(words: string): void {
    say(element("said"), words);
  }

  #show(which: "text" | "form"): void {
    element("panes").dataset.shown = which;
    say(element("switch"), which === "text" ? "Show the form" : "Show the text");
  }

  #listen(): void {
    element("sheet").addEventListener("input", () => this.#changed());
    element("sheet").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#store();
    });
    element("go-missing").addEventListener("click", () => this.#next());
    element("undo").addEventListener("click", () => void this.#undo());
    element("switch").addEventListener("click", () => this.#show(element("panes").dataset.shown === "text" ? "form" : "text"));
    listen(data.user, {
      enter: () => void this.#store(),
      escape: () => element("text").focus({ preventScroll: true }),
      undo: () => void this.#undo(),
      single: (key) => this.#single(key),
    });
  }

  #single(key: string): (() => void) | undefined {
    const here = this.dimensions.find(({ root }) => root.contains(document.activeElement));
    if (here && !isField(document.activeElement) && "1234".includes(key)) return () => here.choose(Number(key));
    if (key === "n") return () => this.#next();
    if (key === "u") return () => void this.#undo();
    return undefined;
  }

  #next(): void {
    this.#show("form");
    this.#missing[0]?.focus();
  }
}

function filledOf(sheet: Sheet | null): Filled {
  if (!sheet) return { scores: {}, notes: {} };
  return { scores: { ...sheet.scores, BONUS: sheet.bonus, PENALTY: sheet.penalty }, notes: sheet.notes };
}

new Page();
