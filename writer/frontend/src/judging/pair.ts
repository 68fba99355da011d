/** Two takes side by side, blind: read, compared, voted on; or settled, where others disagree. */

import "../shared/site.css";
import "../shared/prose.css";
import "../shared/desk.css";
import "./judging.css";
import "./pair.css";
import { ApiError, request } from "../shared/api";
import { element, say, show } from "../shared/page";
import { type Act, ACT_WORDS, Acts, type ActState, type Done } from "./acts";
import { takeOf } from "./alignment";
import { Ballot, type Filled, filledFor, inWords } from "./ballot";
import { Coverage, percent, warning } from "./coverage";
import { clearAway, Kept } from "./kept";
import { isField, listen } from "./keys";
import { nextReading, passing } from "./next";
import { other, Panes } from "./panes";
import { Progress, resumed, type Told } from "./progress";
import type { Principle } from "./reasons";

interface Data {
  user: number;
  reading: Told & {
    id: string;
    state: "open" | "voted" | "skipped";
    settling: boolean;
    brief: { title: string; premise: string };
    left: string;
    right: string;
  };
  palette: Principle[];
  axes: Record<string, string>;
  skip: [string, string][];
  why: [string, string][];
  opinions: { preference: number; reason: string; principles: string[] }[];
  /** The act by which this pair was judged, as the server has it. */
  judged?: { op_id: string; act: Act } | null;
  urls: { desk: string; here: string };
}

/** `act` is null where the page does not know how the pair was judged. */
interface Judged {
  op_id: string | null;
  act: Act | null;
}

const data = JSON.parse(element("pair").textContent) as Data;
const { user, reading } = data;
const JUDGING = ["vote", "skip", "settle"];

class Page {
  readonly ballot = new Ballot({ ...data, settling: reading.settling }, () => this.#filled());
  readonly draft = new Kept<Filled>("ballot", user, reading.id);
  readonly lock = new Kept<boolean>("lock", user);
  readonly panes: Panes;
  readonly progress: Progress;
  readonly acts: Promise<Acts>;
  judged: Judged | null = null;
  /** A judgement is being written down. */
  #busy = false;
  /** The next pair is being fetched. */
  #going = false;
  /** Changes whenever the page has something else to do than that. */
  #turn = 0;

  constructor() {
    clearAway("ballot", "read");
    const kept = new Kept<Told>("read", user, reading.id);
    const earlier = resumed(kept, reading);
    const [left, right] = [takeOf(reading.left), takeOf(reading.right)];
    this.panes = new Panes(
      element("panes"),
      {
        left: { scroller: element("left"), take: left, place: earlier.place_left },
        right: { scroller: element("right"), take: right, place: earlier.place_right },
      },
      () => this.#drawPanes(),
    );
    const seen = [new Coverage(left.words, earlier.seen_left), new Coverage(right.words, earlier.seen_right)] as const;
    this.progress = new Progress(`/api/readings/${reading.id}`, kept, this.panes, ...seen, earlier.seconds, () => this.#drawRead());
    this.panes.lock(this.lock.get() ?? true);
    this.ballot.fill(this.draft.get());
    this.#drawOpinions();
    this.#listen();
    this.#drawPanes();
    this.#drawRead();
    this.acts = Acts.open(user, (state, detail, op_id) => this.#showState(state, detail, op_id));
    void this.acts.then((acts) => this.#begin(acts));
  }

  #begin(acts: Acts): void {
    const mine = acts.unsent.filter(({ act }) => isOurs(act)).at(-1);
    const last = acts.last();
    if (mine ? !mine.undone : reading.state !== "open") {
      const known = mine ?? data.judged ?? (last && isOurs(last.act) ? last : null);
      this.#close({ op_id: known?.op_id ?? null, act: known?.act ?? null });
      if (mine) void this.#goOn(acts);
    } else this.#reopen();
    if (!acts.durable) this.#say("This browser keeps nothing (private window?). A vote is saved only while the server answers.");
    if (document.activeElement === document.body) element("left").focus({ preventScroll: true });
  }

  // The texts

  #drawPanes(): void {
    const { shown, locked } = this.panes;
    element("lock").ariaPressed = String(locked);
    say(element("switch-words"), `Show the ${other(shown)}`);
  }

  #drawRead(): void {
    const { left, right } = this.progress;
    for (const [side, { share }] of [["left", left], ["right", right]] as const) {
      element<HTMLProgressElement>(`${side}-bar`).value = share;
      say(element(`${side}-read`), `${percent(share)} read`);
    }
    this.#drawWarning();
  }

  #drawWarning(): void {
    const { left, right } = this.progress;
    say(element("warning"), this.judged || this.ballot.filled.preference === null ? "" : warning(left.share, right.share));
  }

  #toggleLock(): void {
    this.panes.lock(!this.panes.locked);
    this.lock.set(this.panes.locked);
    this.#drawPanes();
    this.#say(this.panes.locked ? "The two texts move together." : "Each text moves by itself.");
  }

  // The ballot

  #filled(): void {
    this.draft.set(this.ballot.filled);
    this.#drawWarning();
  }

  #drawOpinions(): void {
    if (!reading.settling) return;
    const opinions = data.opinions.map(({ preference, reason, principles }) => {
      const item = document.createElement("li");
      const because = [reason && `because “${reason}”`, principles.length > 0 && `naming ${principles.join(", ")}`].filter(Boolean);
      item.textContent = [`One editor: ${inWords(preference)}`, ...because].join(", ");
      return item;
    });
    element("opinions").replaceChildren(...opinions);
  }

  #unfold(open: boolean): void {
    show(element("more"), open);
    element("unfold").ariaExpanded = String(open);
  }

  #vote(): void {
    const { missing } = this.ballot;
    if (missing) {
      if (missing.field.closest("#more")) this.#unfold(true);
      missing.field.focus();
      return this.#say(missing.words);
    }
    const act = this.ballot.act(reading.id);
    const label = `${reading.settling ? "Settled" : "Vote"}: ${inWords(act.preference as number)}`;
    void this.#judge(act, label);
  }

  #pass(): void {
    const form = element<HTMLFormElement>("pass-form");
    const given = new FormData(form);
    const [why, note] = [String(given.get("why") ?? ""), String(given.get("note")).trim()];
    const problem = !why ? "Choose a reason." : why === "other" && !note ? "Say in a few words why." : "";
    say(element("pass-problem"), problem);
    if (problem) return (form.elements.namedItem("note") as HTMLElement).focus();
    element<HTMLDialogElement>("pass").close();
    void this.#judge({ kind: "skip", reading: reading.id, why, note }, "Skipped");
  }

  async #judge(act: Act, label: string): Promise<void> {
    if (this.#busy || this.judged) return;
    this.#busy = true;
    const sent = this.progress.send(); // how much was read is stored with the vote
    await Promise.race([sent, rest(1_500)]);
    const acts = await this.acts;
    const { op_id } = await acts.do(act, reading.brief.title ? `${label} (${reading.brief.title})` : label);
    this.#busy = false;
    this.#close({ op_id, act });
    void this.#goOn(acts);
  }

  #close(judged: Judged): void {
    this.judged = judged;
    this.progress.over = true;
    say(element("judged-words"), this.#described(judged.act));
    show(element("judged"), true);
    show(element("ballot"), false);
    show(element("undo-judged"), judged.op_id !== null && element("judged").dataset.revealed !== "yes");
    this.#drawWarning();
    void this.#drawUndo();
  }

  #reopen(): void {
    this.#turn++;
    this.#going = false;
    this.judged = null;
    this.progress.over = false;
    show(element("judged"), false);
    show(element("ballot"), true);
    this.#drawWarning();
    void this.#drawUndo();
  }

  #described(act: Act | null): string {
    if (!act) return reading.state === "skipped" ? "You skipped this pair." : "You have judged this pair.";
    if (act.kind === "skip") return `You skipped this pair: “${nameOf(data.skip, act.why)}.”`;
    const { preference, axes, reason, principles, why } = filledFor(act);
    const parts = [`You ${act.kind === "settle" ? "settled it" : "voted"}: ${inWords(preference ?? 0)}.`];
    if (why) parts.push(`${nameOf(data.why, why)}.`);
    parts.push(...Object.entries(axes).map(([axis, value]) => `${data.axes[axis]}: ${inWords(value)}.`));
    const names = data.palette.filter(({ version }) => principles.includes(version)).map(({ name }) => name);
    if (names.length) parts.push(`Because of: ${names.join(", ")}.`);
    if (reason) parts.push(`“${reason}”`);
    return parts.join(" ");
  }

  // On to the next pair, and back

  async #goOn(acts: Acts): Promise<void> {
    const turn = ++this.#turn;
    const over = (): boolean => turn !== this.#turn;
    this.#going = true;
    this.#say("Continuing…");
    await acts.settled();
    if (over()) return;
    const next = reading.settling ? null : await nextReading(over, (error) => this.#waiting(error));
    if (over()) return;
    this.#going = false;
    if (next === undefined) return;
    if (this.judged?.act?.kind !== "skip") this.draft.drop(); // undone, it comes back with the act
    if (next === null) location.assign(data.urls.desk); // which says what else is waiting
    else if (next === reading.id) location.reload();
    else location.assign(data.urls.here.replace(reading.id, next));
  }

  #waiting(error: unknown): void {
    if (error instanceof ApiError && error.signedOut) this.#showState("signed-out", "");
    else if (passing(error)) this.#showState("offline", "");
    else this.#say((error as Error).message);
  }

  async #undo(): Promise<void> {
    if (this.#busy) return;
    const acts = await this.acts;
    const done = await acts.undo();
    if (!done) return this.#say("There is nothing to undo.");
    await this.#undone(acts, done);
  }

  /** This pair's own judgement, which may not be the last thing that was done. */
  async #undoJudged(): Promise<void> {
    const acts = await this.acts;
    const { op_id, act } = this.judged ?? {};
    if (!op_id || !act) return;
    if (acts.last()?.op_id === op_id) return this.#undo();
    try {
      await request("DELETE", `/api/acts/${op_id}`);
      await this.#undone(acts, { op_id, act, page: data.urls.here, label: "Your judgement" });
    } catch (error) {
      this.#say(`It was not undone. ${(error as Error).message}`);
    }
  }

  async #undone(acts: Acts, { op_id, act, page, label }: Done): Promise<void> {
    const turn = ++this.#turn;
    if (isOurs(act)) {
      this.#takenBack = { op_id, act };
      if (act.kind !== "skip") this.ballot.fill(filledFor(act));
      this.#reopen();
      return this.#say("Undone. You can judge this pair again.");
    }
    void this.#drawUndo();
    if (!JUDGING.includes(act.kind)) return this.#say(`Undone: ${label}.`);
    this.#say(`Undone: ${label}. Going back to that pair…`);
    if (act.kind !== "skip") new Kept<Filled>("ballot", user, String(act.reading)).set(filledFor(act));
    await acts.settled();
    if (turn === this.#turn) location.assign(page);
  }

  #takenBack: Judged | null = null;

  async #drawUndo(): Promise<void> {
    const last = (await this.acts).last();
    const button = element("undo");
    show(button, last !== null && last.op_id !== this.judged?.op_id); // which has a button of its own
    button.title = last ? `Undo: ${last.label}` : "";
  }

  #showState(state: ActState, detail: string, op_id?: string): void {
    if (state === "refused") {
      if (op_id && op_id === this.judged?.op_id) this.#reopen();
      else if (op_id && op_id === this.#takenBack?.op_id) this.#close(this.#takenBack);
      return this.#say(`That was not saved. ${detail}`);
    }
    const line = element("save-state");
    line.dataset.state = state;
    say(line, ACT_WORDS[state] + (detail && `: ${detail}`));
    const signIn = element("sign-in");
    show(signIn, state === "signed-out" || (state === "saving" && !signIn.hidden)); // not taken away under a pointer by a retry
    if (!this.judged) return;
    if (state === "offline") this.#say("It is kept in this browser. The next pair comes as soon as the connection is back.");
    if (state === "signed-out") this.#say("It is kept in this browser. Sign in in a new tab, and the next pair comes.");
  }

  #say(words: string): void {
    say(element("said"), words);
  }

  // Keys and buttons

  #listen(): void {
    const click = (id: string, run: () => void): void => element(id).addEventListener("click", run);
    click("lock", () => this.#toggleLock());
    click("switch", () => this.panes.change());
    click("unfold", () => this.#unfold(Boolean(element("more").hidden)));
    click("undo", () => void this.#undo());
    click("undo-judged", () => void this.#undoJudged());
    element("ballot").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#vote();
    });
    element("on").addEventListener("submit", (event) => this.#going && event.preventDefault());
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload()); // gone back to: it knows nothing of what was done since
    if (!reading.settling) this.#listenToPassing();
    listen(user, {
      enter: () => (this.judged ? element("next").click() : this.#vote()),
      escape: () => element(this.panes.shown).focus({ preventScroll: true }),
      undo: () => void this.#undo(),
      single: (key) => this.#single(key),
    });
  }

  #listenToPassing(): void {
    element("pass-over").addEventListener("click", () => this.#askWhy());
    element("pass-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#pass();
    });
    element("pass").addEventListener("keydown", (event) => {
      if (isField(event.target)) return;
      const choice = element("pass").querySelectorAll<HTMLInputElement>("[name=why]")[Number(event.key) - 1];
      if (!choice) return;
      event.preventDefault();
      choice.checked = true;
      (choice.value === "other" ? element("pass-note") : choice).focus();
    });
  }

  #askWhy(): void {
    say(element("pass-problem"), "");
    element<HTMLDialogElement>("pass").showModal();
  }

  #single(key: string): (() => void) | undefined {
    const always: Record<string, () => void> = {
      l: () => this.#toggleLock(),
      s: () => this.panes.change(),
      b: () => element("brief").toggleAttribute("open"),
      u: () => void this.#undo(),
    };
    const open = (then: () => void) => (): void => {
      this.#unfold(true);
      then();
    };
    const judging: Record<string, () => void> = {
      a: () => this.#unfold(Boolean(element("more").hidden)),
      r: open(() => this.ballot.reason.focus()),
      p: open(() => this.ballot.findPrinciple()),
      ...(reading.settling ? {} : { x: () => this.#askWhy() }),
      ...Object.fromEntries([1, 2, 3, 4, 5].map((digit) => [digit, () => this.#prefer(digit - 3)])),
    };
    return always[key] ?? (this.judged ? undefined : judging[key]);
  }

  #prefer(preference: number): void {
    this.ballot.preference = preference;
    this.#say(`${upper(inWords(preference))}.`);
  }
}

/** The judgement of this pair, not of another one, and not a mark on a text. */
const isOurs = (act: Act): boolean => act.reading === reading.id && JUDGING.includes(act.kind);
const nameOf = (choices: [string, string][], value: unknown): string => choices.find(([one]) => one === value)?.[1] ?? "";
const upper = (words: string): string => words.slice(0, 1).toUpperCase() + words.slice(1);
const rest = (time: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, time));

new Page();
