/**
 * Which principle do these words break, how badly, and what should stand there? One small form beside the words.
 *
 * The shortest way through it: a few letters, Enter (the principle), Enter (the mark). The principle under the cursor of the
 * list is the chosen one; there is no other state of the list.
 */

import { element, say, show } from "../shared/page";
import { storable } from "../shared/text";
import { type Principle, Principles, Recent } from "./principles";

export interface Wording {
  version: number;
  severity: number;
  note: string;
  better: string;
}

/** Where the words stand in the window. */
export type Box = Pick<DOMRect, "left" | "top" | "bottom">;

const APART = 10;

export class Palette {
  readonly #root = element("palette");
  readonly #form = element<HTMLFormElement>("palette-form");
  readonly #filter = element<HTMLInputElement>("palette-filter");
  readonly #list = element("palette-list");
  readonly #note = element<HTMLTextAreaElement>("palette-note");
  readonly #better = element<HTMLTextAreaElement>("palette-better");
  readonly #severities = [...this.#form.querySelectorAll<HTMLInputElement>("[name=severity]")];
  readonly #options = new Map<number, HTMLElement>();
  readonly #recent: Recent;
  #principles: Principles;
  #shown: Principle[] = [];
  #cursor = -1;
  #marked: HTMLElement | undefined;
  #quote = "";
  #begun = "";
  #answer: ((wording: Wording | null) => void) | null = null;

  constructor(
    readonly all: readonly Principle[],
    user: number,
  ) {
    this.#principles = new Principles(all);
    this.#recent = new Recent(user);
    this.#filter.addEventListener("input", () => this.#draw());
    this.#root.addEventListener("keydown", (event) => this.#press(event));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    element("palette-cancel").addEventListener("click", () => this.close());
    this.#list.addEventListener("mousedown", (event) => event.preventDefault()); // the filter keeps the focus
    this.#list.addEventListener("click", (event) => this.#click(event.target as Element));
    document.addEventListener("pointerdown", (event) => {
      // A press beside the palette closes it, unless something was written in it.
      if (this.isOpen && !this.#root.contains(event.target as Node) && this.#written() === this.#begun) this.close();
    });
    visualViewport?.addEventListener("resize", () => this.#aboveKeyboard());
  }

  get isOpen(): boolean {
    return this.#answer !== null;
  }

  /**
   * Ask for a mark on words that stand at `box`, or for a change of one, which `begun` is. A principle that is not in force any
   * more is offered only to the mark that has it.
   */
  ask(quote: string, box: Box, begun?: Wording & { principle: string }): Promise<Wording | null> {
    this.close();
    const older = begun && !this.all.some(({ version }) => version === begun.version) ? [olderOne(begun)] : [];
    this.#principles = older.length ? new Principles([...older, ...this.all]) : new Principles(this.all);
    this.#quote = quote;
    say(element("palette-quote"), quote);
    say(element("palette-store"), begun ? "Change the mark" : "Mark");
    this.#filter.value = "";
    this.#note.value = begun?.note ?? "";
    this.#better.value = begun?.better || quote;
    this.#begun = this.#written();
    this.#severity = begun?.severity ?? 2;
    this.#draw(begun?.version);
    show(this.#root, true);
    this.#list.scrollTop = 0;
    this.#reveal();
    this.#put(box);
    // On a touch screen the keyboard would cover the list; whoever wants to filter taps the field.
    const first = matchMedia("(pointer: coarse)").matches ? this.#root : this.#filter;
    first.focus({ preventScroll: true });
    return new Promise((resolve) => (this.#answer = resolve));
  }

  close(wording: Wording | null = null): void {
    const answer = this.#answer;
    this.#answer = null;
    show(this.#root, false);
    answer?.(wording);
  }

  get #severity(): number {
    return Number(this.#severities.find(({ checked }) => checked)?.value ?? 2);
  }

  set #severity(value: number) {
    for (const radio of this.#severities) radio.checked = radio.value === String(value);
  }

  #written(): string {
    return JSON.stringify([this.#note.value, this.#better.value]);
  }

  // The list

  #draw(version?: number): void {
    this.#shown = this.#principles.found(this.#filter.value, this.#recent.keys);
    const options = this.#shown.map((one) => this.#option(one));
    const there = this.#list.children;
    const same = options.length === there.length && options.every((one, index) => one === there[index]);
    if (!same) this.#list.replaceChildren(...options);
    show(element("palette-none"), this.#shown.length === 0);
    this.#move(Math.max(0, this.#shown.findIndex((one) => one.version === version)));
  }

  #option({ version, name }: Principle): HTMLElement {
    const known = this.#options.get(version);
    if (known) return known;
    const option = document.createElement("li");
    option.id = `principle-${version}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.dataset.version = String(version);
    option.textContent = name;
    this.#options.set(version, option);
    return option;
  }

  #move(to: number): void {
    this.#cursor = Math.min(Math.max(0, to), this.#shown.length - 1);
    const chosen = this.#shown[this.#cursor];
    const option = chosen && this.#options.get(chosen.version);
    if (option !== this.#marked) {
      this.#marked?.setAttribute("aria-selected", "false");
      this.#marked?.removeAttribute("aria-describedby");
      option?.setAttribute("aria-selected", "true");
      option?.setAttribute("aria-describedby", "palette-explanation");
      this.#marked = option;
    }
    if (option) this.#filter.setAttribute("aria-activedescendant", option.id);
    else this.#filter.removeAttribute("aria-activedescendant");
    this.#explain(chosen);
    this.#reveal();
  }

  #reveal(): void {
    const chosen = this.#shown[this.#cursor];
    // Not scrollIntoView: it would move the page under the words as well.
    const [option, list] = [chosen && this.#options.get(chosen.version), this.#list];
    if (!option) return;
    const top = option.offsetTop - list.offsetTop;
    if (top < list.scrollTop) list.scrollTop = top;
    const under = top + option.offsetHeight - list.clientHeight;
    if (under > list.scrollTop) list.scrollTop = under;
  }

  #explain(principle: Principle | undefined): void {
    show(element("palette-explained"), principle !== undefined);
    if (!principle) return;
    say(element("palette-name"), principle.name);
    say(element("palette-explanation"), principle.explanation);
    const [example] = principle.examples;
    show(element("palette-example"), example !== undefined);
    if (!example) return;
    for (const part of ["follows", "follows_because", "breaks", "breaks_because"] as const) {
      say(element(`palette-${part}`), example[part]);
    }
  }

  #click(target: Element): void {
    const version = Number(target.closest<HTMLElement>("[role=option]")?.dataset.version);
    const found = this.#shown.findIndex((one) => one.version === version);
    if (found < 0) return;
    this.#move(found);
    this.#on();
  }

  /** The principle is chosen: on to how badly it is broken. */
  #on(): void {
    this.#severities.find(({ checked }) => checked)?.focus({ preventScroll: true });
  }

  // Keys

  #press(event: KeyboardEvent): void {
    if (event.isComposing) return;
    const { key, target } = event;
    const inFilter = target === this.#filter || target === this.#root;
    const onRadio = this.#severities.includes(target as HTMLInputElement);
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 7, PageUp: -7 };
    if (key === "Escape") this.close();
    else if (key === "Enter" && (event.ctrlKey || event.metaKey)) this.#submit();
    else if (key === "Enter" && inFilter) this.#on();
    else if (key === "Enter" && onRadio) this.#submit();
    else if (/^[123]$/.test(key) && (onRadio || (inFilter && this.#filter.value === ""))) {
      this.#severity = Number(key);
      if (onRadio) this.#on(); // the checked one is where Tab continues from
    } else if (inFilter && key in steps) this.#move(this.#cursor + steps[key]!);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #submit(): void {
    const chosen = this.#shown[this.#cursor];
    if (!chosen) return this.#filter.focus();
    if (chosen.key) this.#recent.use(chosen.key);
    const better = storable(this.#better.value).trim();
    this.close({
      version: chosen.version,
      severity: this.#severity,
      note: storable(this.#note.value).trim(),
      better: better === this.#quote.trim() ? "" : better,
    });
  }

  // Its place

  /** Below the words if there is room, or above; and where there is none, the page is scrolled until there is. */
  #put({ left, top, bottom }: Box): void {
    const { offsetWidth: width, offsetHeight: height } = this.#root;
    if (getComputedStyle(this.#root).position === "fixed") {
      const over = bottom + APART - (innerHeight - height);
      if (over > 0) scrollBy({ top: Math.min(over, Math.max(0, top - APART)), behavior: "instant" });
      return;
    }
    let y = bottom + APART;
    const over = y + height + APART - innerHeight;
    if (over > 0 && top - APART - height >= APART) y = top - APART - height;
    else if (over > 0) {
      const scrolled = Math.min(over, Math.max(0, top - 5 * APART));
      this.#at(left, Math.min(y, innerHeight - height - APART + scrolled), width); // first, for it makes the page long enough
      return scrollBy({ top: scrolled, behavior: "instant" });
    }
    this.#at(left, y, width);
  }

  #at(left: number, y: number, width: number): void {
    const x = Math.max(APART, Math.min(left, document.documentElement.clientWidth - width - 2 * APART));
    this.#root.style.left = `${x + scrollX}px`;
    this.#root.style.top = `${Math.max(APART, y) + scrollY}px`;
  }

  /** The keyboard of a phone covers the bottom of the window without making it smaller. */
  #aboveKeyboard(): void {
    const covered = innerHeight - visualViewport!.height - visualViewport!.offsetTop;
    this.#root.style.setProperty("--covered", `${Math.max(0, covered)}px`);
  }
}

/** A principle as a mark has it, of whose version the palette says nothing more. */
function olderOne({ version, principle }: { version: number; principle: string }): Principle {
  const explanation = "This mark has an older wording of the principle, or one that is not in force any more.";
  return { version, key: "", name: principle, number: 0, explanation, examples: [] };
}
