/** Principles as reasons: a list that gets shorter as one types, each with what it asks. */

import { say, show } from "../shared/page";

export interface Principle {
  version: number;
  name: string;
  explanation: string;
}

const MOST = 20;

export class Reasons {
  readonly #filter: HTMLInputElement;
  readonly #count: HTMLElement;
  readonly #rows: { row: HTMLElement; box: HTMLInputElement; words: string; principle: Principle }[];

  /** `root` holds an input, an element for what was chosen, and a list. */
  constructor(root: HTMLElement, palette: readonly Principle[], changed: () => void) {
    this.#filter = root.querySelector("input")!;
    this.#count = root.querySelector("[data-chosen]")!;
    this.#rows = palette.map((principle) => ({ ...drawn(principle), principle, words: `${principle.name} ${principle.explanation}`.toLowerCase() }));
    root.querySelector("ul")!.replaceChildren(...this.#rows.map(({ row }) => row));
    root.addEventListener("change", () => {
      this.#chose();
      changed();
    });
    this.#filter.addEventListener("input", () => this.#shorten());
    root.addEventListener("keydown", (event) => this.#key(event));
    this.#chose();
  }

  get chosen(): number[] {
    return this.#rows.filter(({ box }) => box.checked).map(({ principle }) => principle.version);
  }

  set chosen(versions: readonly number[]) {
    for (const { box, principle } of this.#rows) box.checked = versions.includes(principle.version);
    this.#chose();
  }

  focus(): void {
    this.#filter.focus();
  }

  #chose(): void {
    const chosen = this.#rows.filter(({ box }) => box.checked);
    say(this.#count, chosen.length ? `Chosen: ${chosen.map(({ principle }) => principle.name).join(", ")}` : "None chosen");
    for (const { box } of this.#rows) box.disabled = chosen.length >= MOST && !box.checked;
  }

  #shorten(): void {
    const typed = this.#filter.value.toLowerCase().split(/\s+/);
    for (const { row, words } of this.#rows) show(row, typed.every((word) => words.includes(word)));
  }

  /** Down and up go through the list; Enter in the field takes the first. */
  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const boxes = this.#rows.filter(({ row }) => !row.hidden).map(({ box }) => box);
    const at = boxes.findIndex((box) => box === document.activeElement);
    if (event.key === "ArrowDown") boxes[at + 1]?.focus();
    else if (event.key === "ArrowUp") (at > 0 ? boxes[at - 1]! : this.#filter).focus();
    else if (event.key === "Enter" && event.target === this.#filter) {
      boxes[0]?.click();
      this.#filter.value = "";
      this.#shorten();
    } else return;
    event.preventDefault();
  }
}

function drawn({ version, name, explanation }: Principle): { row: HTMLElement; box: HTMLInputElement } {
  const [row, label, text] = [document.createElement("li"), document.createElement("label"), document.createElement("p")];
  const box = document.createElement("input");
  box.type = "checkbox";
  box.setAttribute("aria-describedby", (text.id = `principle-${version}`));
  label.append(box, name);
  text.textContent = explanation;
  row.append(label, text);
  return { row, box };
}
