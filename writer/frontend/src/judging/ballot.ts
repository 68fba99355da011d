/** What an editor fills in about a pair: to vote on it, or to settle it where others disagree. */

import { element, show } from "../shared/page";
import type { Act } from "./acts";
import { type Principle, Reasons } from "./reasons";

/** Preferences are those of the screen: -2 the left is clearly better, 2 the right. */
const CHOICES: readonly { value: number; choice: string; words: string }[] = [
  { value: -2, choice: "Left clearly", words: "left clearly better" },
  { value: -1, choice: "Left slightly", words: "left slightly better" },
  { value: 0, choice: "No difference", words: "no difference" },
  { value: 1, choice: "Right slightly", words: "right slightly better" },
  { value: 2, choice: "Right clearly", words: "right clearly better" },
];

export const inWords = (preference: number): string => CHOICES[preference + 2]?.words ?? "";

export interface Filled {
  preference: number | null;
  axes: Record<string, number>;
  reason: string;
  principles: number[];
  why: string;
  version: number | null;
}

const NOTHING: Filled = { preference: null, axes: {}, reason: "", principles: [], why: "", version: null };

/** What was filled in for this act, to be filled in again when it is undone. */
export function filledFor(act: Act): Filled {
  const asked = act as Partial<Filled> & { words?: string };
  return act.kind === "skip" ? NOTHING : { ...NOTHING, ...pick(asked), reason: asked.reason ?? asked.words ?? "" };
}

function pick({ preference = null, axes = {}, principles = [], why = "", version = null }: Partial<Filled>): Partial<Filled> {
  return { preference, axes, principles, why, version };
}

interface Given {
  settling: boolean;
  axes: Record<string, string>;
  palette: readonly Principle[];
  why: readonly [string, string][];
}

export class Ballot {
  readonly reason = element<HTMLTextAreaElement>("reason");
  readonly #preference: Scale;
  readonly #axes: ReadonlyMap<string, Scale>;
  readonly #reasons: Reasons | null = null;
  readonly #why: HTMLSelectElement | null = null;
  readonly #version: HTMLSelectElement | null = null;

  constructor(
    readonly given: Given,
    readonly changed: () => void,
  ) {
    this.#preference = new Scale("preference", "Which is better?", true);
    element("choices").append(this.#preference.group);
    this.#axes = new Map();
    if (given.settling) {
      this.#why = options("why", given.why);
      this.#version = options("version", given.palette.map(({ version, name }) => [String(version), name]));
    } else {
      this.#axes = new Map(Object.entries(given.axes).map(([key, name]) => [key, new Scale(`axis-${key}`, name, false)]));
      element("axes").append(...[...this.#axes.values()].map(({ group }) => group));
      this.#reasons = new Reasons(element("principles"), given.palette, changed);
    }
    element("ballot").addEventListener("input", () => {
      this.#drawVersion();
      changed();
    });
    element("ballot").addEventListener("click", (event) => event.target instanceof HTMLButtonElement && event.target.name === "clear" && changed());
    this.#drawVersion();
  }

  get filled(): Filled {
    return {
      preference: this.#preference.value,
      axes: Object.fromEntries([...this.#axes].flatMap(([key, { value }]) => (value === null ? [] : [[key, value]]))),
      reason: this.reason.value,
      principles: this.#reasons?.chosen ?? [],
      why: this.#why?.value ?? "",
      version: Number(this.#version?.value) || null,
    };
  }

  fill(filled: Filled | null): void {
    const { preference, axes, reason, principles, why, version } = { ...NOTHING, ...filled };
    this.#preference.value = preference;
    for (const [key, scale] of this.#axes) scale.value = axes[key] ?? null;
    this.reason.value = reason;
    if (this.#reasons) this.#reasons.chosen = principles;
    if (this.#why) this.#why.value = why;
    if (this.#version) this.#version.value = String(version ?? "");
    this.#drawVersion();
  }

  set preference(value: number) {
    this.#preference.value = value;
    this.changed();
  }

  findPrinciple(): void {
    if (this.#reasons) this.#reasons.focus();
    else (this.#why!.value === "unclear" ? this.#version! : this.#why!).focus();
  }

  /** What is still needed, in words, and where to give it. */
  get missing(): { words: string; field: HTMLElement } | null {
    const { preference, why, version, reason } = this.filled;
    if (preference === null) return { words: "Which is better? Choose one of the five first.", field: this.#preference.first };
    if (this.#why && !why) return { words: "Why did they disagree? Choose a reason.", field: this.#why };
    if (this.#version && why === "unclear" && !version) return { words: "Which principle is unclear?", field: this.#version };
    if (this.#why && !reason.trim()) return { words: "Give the reason in a few words.", field: this.reason };
    return null;
  }

  act(reading: string): Act {
    const { preference, axes, reason, principles, why, version } = this.filled;
    if (!this.given.settling) return { kind: "vote", reading, preference, axes, reason: reason.trim(), principles };
    return { kind: "settle", reading, preference, why, words: reason.trim(), version: why === "unclear" ? version : null };
  }

  #drawVersion(): void {
    if (this.#version) show(this.#version.parentElement!, this.#why!.value === "unclear");
  }
}

/** Five choices from left to right. The small one can be left open, and be opened again. */
class Scale {
  readonly group = document.createElement("div");
  readonly #boxes: HTMLInputElement[];
  readonly #clear = document.createElement("button");

  constructor(name: string, question: string, large: boolean) {
    const title = document.createElement("span");
    title.id = `${name}-title`;
    title.textContent = question;
    title.className = large ? "unseen" : "";
    this.group.className = large ? "scale" : "axis";
    this.group.role = "radiogroup";
    this.group.setAttribute("aria-labelledby", title.id);
    this.#boxes = CHOICES.map(({ value }) => Object.assign(document.createElement("input"), { type: "radio", name, value: String(value) }));
    this.group.append(title, ...this.#boxes.map((box, at) => (large ? big(box, at) : small(box, at))));
    if (large) return;
    Object.assign(this.#clear, { type: "button", name: "clear", className: "quiet", textContent: "×", title: `Say nothing about: ${question}` });
    this.#clear.setAttribute("aria-label", this.#clear.title);
    this.#clear.addEventListener("click", () => {
      this.value = null;
      this.first.focus();
    });
    this.group.append(this.#clear);
    this.group.addEventListener("input", () => this.#draw());
    this.#draw();
  }

  get first(): HTMLInputElement {
    return this.#boxes[0]!;
  }

  get value(): number | null {
    const chosen = this.#boxes.find((box) => box.checked);
    return chosen ? Number(chosen.value) : null;
  }

  set value(value: number | null) {
    for (const box of this.#boxes) box.checked = box.value === String(value);
    this.#draw();
  }

  #draw(): void {
    this.#clear.style.visibility = this.value === null ? "hidden" : "visible";
  }
}

function big(box: HTMLInputElement, at: number): HTMLElement {
  const [label, key, words] = [document.createElement("label"), document.createElement("kbd"), document.createElement("span")];
  key.textContent = String(at + 1);
  key.ariaHidden = "true";
  words.textContent = CHOICES[at]!.choice;
  label.append(box, key, words);
  return label;
}

function small(box: HTMLInputElement, at: number): HTMLElement {
  box.ariaLabel = CHOICES[at]!.choice;
  box.title = CHOICES[at]!.choice;
  const label = document.createElement("label");
  label.append(box);
  return label;
}

function options(id: string, choices: readonly (readonly [string, string])[]): HTMLSelectElement {
  const select = element<HTMLSelectElement>(id);
  select.append(...choices.map(([value, words]) => new Option(words, value)));
  return select;
}
