/**
 * Two texts side by side, each with a scroll of its own, and a lock that keeps them at matching places.
 *
 * The place of a pane is taken at a height that goes with the text: at the top of the pane while the text is at its top, at the
 * bottom when it is at its end, and in between as far down as the text is. So every place from the first to the last can be
 * reached. A pane that follows puts the matching place at the same height, and paragraphs that both have stand side by side.
 *
 * Locked, the pane that the reader moves leads, and the other follows by the alignment of the texts. Unlocked, each stays where it is.
 * Locked again, nothing jumps: what stands side by side then is what the reader calls matching, and both move on from there. Only where the texts
 * themselves know better (they share paragraphs, and one pane is past what is still to come in the other), the other pane comes along.
 */

import { emphases, kindOf } from "../shared/text";
import { Alignment, lowest, type Place, type Take } from "./alignment";

export type Side = "left" | "right";
export const other = (side: Side): Side => (side === "left" ? "right" : "left");

export class Pane {
  /** The place that was gone to, and the height at which it stands: where to stay when the lines move. */
  #kept: { place: Place; height: number | undefined } = { place: 0, height: undefined };
  /** Where each paragraph begins, in pixels of the text, and where the last one ends. */
  #tops: number[] = [];
  /** Where this page put the scroll: an event that finds it there is not the reader's. */
  #put = 0;
  readonly #text: HTMLElement;

  /** `scroller` is what scrolls; the text is drawn into the one element in it. `moved`: the reader scrolled. */
  constructor(
    readonly scroller: HTMLElement,
    take: Take,
    moved: () => void,
  ) {
    this.#text = scroller.firstElementChild as HTMLElement;
    this.#text.replaceChildren(...take.paragraphs.map(drawn));
    scroller.addEventListener(
      "scroll",
      () => {
        if (Math.abs(scroller.scrollTop - this.#put) < 1.5) return;
        this.#put = scroller.scrollTop;
        this.#kept = { place: this.place, height: this.height };
        moved();
      },
      { passive: true },
    );
    // Another width, other fonts, a folded brief: the lines move, and the reader stays where they are.
    const watch = new ResizeObserver(() => this.measure());
    for (const part of [scroller, this.#text]) watch.observe(part);
    this.measure();
  }

  get shown(): boolean {
    return this.scroller.clientHeight > 0;
  }

  /** Where its place is taken, from 0 at the top of the pane to 1 at the bottom. */
  get height(): number {
    return this.#room > 0 ? this.scroller.scrollTop / this.#room : 0;
  }

  get place(): Place {
    return this.placeAt(this.height);
  }

  /** The place that stands at a height. */
  placeAt(height: number): Place {
    if (!this.shown) return this.#kept.place;
    const y = this.scroller.scrollTop + height * this.scroller.clientHeight;
    const block = this.#block(y);
    const [start, end] = [this.#tops[block], this.#tops[block + 1]];
    return start === undefined || end === undefined ? block : block + (y - start) / (end - start);
  }

  /** Bring a place to a height: that of another pane, or its own. */
  goTo(place: Place, height?: number): void {
    this.#kept = { place: Math.min(Math.max(place, 0), this.#text.childElementCount), height };
    if (!this.shown) return;
    const y = this.#top(this.#kept.place);
    this.scroller.scrollTop = y - (height ?? y / this.scroller.scrollHeight) * this.scroller.clientHeight;
    this.#put = this.scroller.scrollTop;
  }

  measure(): void {
    if (!this.shown) return;
    const blocks = [...this.#text.children] as HTMLElement[];
    this.#tops = [0, ...blocks.slice(1).map((block) => block.offsetTop), this.scroller.scrollHeight];
    this.goTo(this.#kept.place, this.#kept.height);
  }

  /** Paragraphs of which at least half is in view, or that fill at least half of the view. */
  get visible(): number[] {
    if (!this.shown) return [];
    const [top, height] = [this.scroller.scrollTop, this.scroller.clientHeight];
    const found: number[] = [];
    for (let at = Math.max(0, this.#block(top)); at < this.#text.childElementCount && this.#tops[at]! < top + height; at++) {
      const [start, end] = [this.#tops[at]!, this.#tops[at + 1]!];
      const inView = Math.min(end, top + height) - Math.max(start, top);
      if (inView >= Math.min(end - start, height) / 2) found.push(at);
    }
    return found;
  }

  /** Pixels to scroll. */
  get #room(): number {
    return this.scroller.scrollHeight - this.scroller.clientHeight;
  }

  #block(y: number): number {
    return lowest(this.#tops.length - 1, (k) => this.#tops[k + 1]! > y);
  }

  #top(place: Place): number {
    const block = Math.floor(place);
    const start = this.#tops[block] ?? 0;
    return start + ((this.#tops[block + 1] ?? start) - start) * (place - block);
  }
}

/** A paragraph as it is read: the signs that the drafting page shows are left out. */
export function drawn(paragraph: string): HTMLElement {
  const kind = kindOf(paragraph);
  const block = document.createElement(kind === "heading" ? "h3" : "p");
  if (kind === "paragraph") {
    let last = 0;
    for (const { from, to } of emphases(paragraph)) {
      const emphasis = document.createElement("em");
      emphasis.textContent = paragraph.slice(from + 1, to - 1);
      block.append(paragraph.slice(last, from), emphasis);
      last = to;
    }
    block.append(paragraph.slice(last));
  } else {
    block.className = kind;
    block.textContent = kind === "heading" ? paragraph.slice(3) : paragraph;
  }
  return block;
}

export class Panes {
  readonly left: Pane;
  readonly right: Pane;
  readonly #alignment: Alignment;
  #locked = false;
  /** The one that the reader was in last. */
  #leader: Side = "left";

  /** `place` holds both; where it is narrow, its data-shown says which one is shown. */
  constructor(
    readonly place: HTMLElement,
    texts: Record<Side, { scroller: HTMLElement; take: Take; place: Place }>,
    readonly moved: () => void,
  ) {
    this.#alignment = new Alignment(texts.left.take, texts.right.take);
    const pane = (side: Side): Pane => {
      const { scroller, take } = texts[side];
      scroller.addEventListener("focus", () => (this.#leader = side));
      return new Pane(scroller, take, () => this.#scrolled(side));
    };
    this.left = pane("left");
    this.right = pane("right");
    for (const side of ["left", "right"] as const) this[side].goTo(texts[side].place);
    this.shown = "left";
  }

  get locked(): boolean {
    return this.#locked;
  }

  lock(locked: boolean): void {
    this.#locked = locked;
    const { height } = this[this.#leader];
    if (locked && !this.#alignment.pin(this.left.placeAt(height), this.right.placeAt(height))) this.#follow(this.#leader);
  }

  get shown(): Side {
    return this.place.dataset.shown as Side;
  }

  set shown(side: Side) {
    this.place.dataset.shown = side;
  }

  /** On to the other text: where both are shown the focus goes there; where only one is, it gives place to the other. */
  change(): void {
    const narrow = !this.left.shown || !this.right.shown;
    const from = narrow ? this.shown : this.#leader;
    const [here, there] = [this[from], this[other(from)]];
    const [matching, height] = [this.#matching(from), here.height];
    this.shown = other(from);
    if (narrow) {
      there.measure();
      if (this.#locked) there.goTo(matching, height);
    }
    there.scroller.focus({ preventScroll: true });
    this.moved();
  }

  #scrolled(side: Side): void {
    this.#leader = side;
    if (this.#locked) this.#follow(side);
    this.moved();
  }

  #follow(leader: Side): void {
    this[other(leader)].goTo(this.#matching(leader), this[leader].height);
  }

  /** The place in the other text that matches where this one is. */
  #matching(side: Side): Place {
    return side === "left" ? this.#alignment.toRight(this.left.place) : this.#alignment.toLeft(this.right.place);
  }
}
