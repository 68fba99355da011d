/** The marks of a text as a list beside it: what is painted on the words, for those who do not see paint, and to work with. */

import { say, show } from "../shared/page";
import { type Mark, SEVERITIES } from "./passages";

export interface Wishes {
  /** The person came to a mark in the list; `stay`: by Tab, so the focus stays there. */
  go(id: string, stay: boolean): void;
  edit(id: string): void;
  remove(id: string): void;
}

interface Item {
  item: HTMLLIElement;
  quote: HTMLButtonElement;
  severity: HTMLElement;
  principle: HTMLElement;
  note: HTMLElement;
  better: HTMLElement;
  buttons: HTMLElement;
}

export class MarkList {
  #items = new Map<string, Item>();
  #active: string | null = null;

  constructor(
    readonly list: HTMLElement,
    readonly wishes: Wishes,
  ) {
    list.addEventListener("click", (event) => this.#click(event.target as Element));
    list.addEventListener("focusin", (event) => {
      const target = event.target as HTMLElement;
      if (target.matches(".quote:focus-visible")) this.wishes.go(idOf(target), true);
    });
  }

  /** Show these, in this order. Only what differs is touched. */
  show(marks: readonly Mark[]): void {
    const here = new Set(marks.map(({ id }) => id));
    for (const [id, { item }] of this.#items) {
      if (here.has(id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    let before: Element | null = null;
    for (const mark of marks) {
      const made = this.#items.get(mark.id) ?? this.#make(mark.id);
      draw(made, mark);
      const next: Element | null = before ? before.nextElementSibling : this.list.firstElementChild;
      if (next !== made.item) this.list.insertBefore(made.item, next);
      before = made.item;
    }
  }

  activate(id: string | null): void {
    for (const one of [this.#active, id]) {
      const found = one === null ? undefined : this.#items.get(one);
      if (!found) continue;
      const active = one === id;
      if (active) found.item.setAttribute("aria-current", "true");
      else found.item.removeAttribute("aria-current");
      show(found.buttons, active);
    }
    this.#active = id;
    const item = id === null ? undefined : this.#items.get(id)?.item;
    if (item) this.#reveal(item);
  }

  focus(id: string): void {
    this.#items.get(id)?.quote.focus({ preventScroll: true });
  }

  /** Scroll the list, and never the page: the words are what is looked at. */
  #reveal(item: HTMLElement): void {
    const pane = this.list.parentElement!;
    if (pane.scrollHeight <= pane.clientHeight) return;
    const [box, frame] = [item.getBoundingClientRect(), pane.getBoundingClientRect()];
    if (box.top < frame.top) pane.scrollTop += box.top - frame.top - 8;
    else if (box.bottom > frame.bottom) pane.scrollTop += Math.min(box.bottom - frame.bottom + 8, box.top - frame.top - 8);
  }

  #click(target: Element): void {
    const id = idOf(target);
    if (target.closest(".edit")) this.wishes.edit(id);
    else if (target.closest(".remove")) this.wishes.remove(id);
    else if (id) this.wishes.go(id, false);
  }

  #make(id: string): Item {
    const item = document.createElement("li");
    item.dataset.mark = id;
    const add = <K extends keyof HTMLElementTagNameMap>(to: Element, tag: K, name: string, text = ""): HTMLElementTagNameMap[K] => {
      const made = document.createElement(tag);
      made.className = name;
      made.textContent = text;
      to.append(made);
      return made;
    };
    const quote = add(item, "button", "quiet quote");
    quote.type = "button";
    const facts = add(item, "p", "facts");
    const severity = add(facts, "span", "severity");
    facts.append(" ");
    const principle = add(facts, "span", "principle");
    const note = add(item, "p", "note");
    const better = add(item, "p", "better");
    const buttons = add(item, "p", "row");
    buttons.hidden = true;
    add(buttons, "button", "edit", "Edit").type = "button";
    add(buttons, "button", "remove", "Remove").type = "button";
    const made = { item, quote, severity, principle, note, better, buttons };
    this.#items.set(id, made);
    return made;
  }
}

const idOf = (target: Element): string => target.closest<HTMLElement>("[data-mark]")?.dataset.mark ?? "";

function draw({ quote, severity, principle, note, better }: Item, mark: Mark): void {
  say(quote, mark.quote);
  say(severity, SEVERITIES[mark.severity] ?? "");
  severity.dataset.severity = String(mark.severity);
  say(principle, mark.principle);
  say(note, mark.note);
  show(note, mark.note !== "");
  say(better, mark.better);
  show(better, mark.better !== "");
}
