/**
 * A text that is read and not changed: its paragraphs, what is painted on them, what is selected, and what stands at a point.
 *
 * Places are UTF-16 units of the whole text (`blocks.ts`). No character is left out of the page, signs such as the `*` of an
 * emphasis included, so that places of the text and of the page are the same.
 */

import { emphases, kindOf } from "../shared/text";
import { Blocks, type Span } from "./blocks";
import { canHighlight, type Layer, LAYERS, Layers, overlaps } from "./painting";
import type { Course } from "./walk";

export interface Painted extends Span {
  id: string;
  layer: Layer;
}

const REACH = 200; // characters: a few lines
const LINE = 80;
/** Text nodes are no longer than about this: Chromium draws a whole node anew when a mark on it changes. */
const NODE = 400;

export class TextView {
  readonly blocks: Blocks;
  /** So much of the window's lower edge is covered by something else. */
  covered = 0;
  #paragraphs: HTMLElement[] = [];
  /** The text nodes of each paragraph, in order. */
  #nodes: Text[][] = [];
  #index = new Map<Node, number>();
  #marks: Painted[] = [];
  #layers = new Layers();
  #course: Course | null = null;
  /** What is painted: the words near the window, and some more, so that scrolling does not change it all the time. */
  #painted: Span = { start: 0, end: 0 };
  /** Without highlights: the paragraphs whose pieces are not those of their marks; null with them. */
  #stale: Set<number> | null = canHighlight() ? null : new Set();

  /** `scroller` is what scrolls this text, if not the window. */
  constructor(
    readonly place: HTMLElement,
    text: string,
    label: string,
    readonly scroller: HTMLElement | null = null,
  ) {
    this.blocks = new Blocks(text);
    place.setAttribute("role", "region");
    place.setAttribute("aria-label", label);
    place.tabIndex = 0;
    this.#paragraphs = this.blocks.all.map((block, index) => {
      const paragraph = document.createElement("p");
      paragraph.dir = "auto";
      const kind = kindOf(block);
      if (kind !== "paragraph") paragraph.className = kind;
      if (kind === "heading") {
        paragraph.setAttribute("role", "heading");
        paragraph.setAttribute("aria-level", "2");
      }
      this.#index.set(paragraph, index);
      this.#draw(paragraph, index);
      return paragraph;
    });
    place.replaceChildren(...this.#paragraphs);
    document.addEventListener("selectionchange", () => this.#look());
    this.#watch();
  }

  // Painting

  paint(marks: readonly Painted[]): void {
    this.#marks = [...marks].sort((a, b) => a.start - b.start);
    const used = new Map<Layer, Span[]>([["minor", []], ["major", []], ["critical", []], ["unsure", []]]);
    for (const mark of this.#marks) used.get(mark.layer)?.push(mark);
    for (const [layer, spans] of used) this.layer(layer, spans);
    this.layer("over", overlaps(this.#marks));
  }

  layer(layer: Layer, spans: readonly Span[]): void {
    const changed = this.#layers.set(layer, spans);
    for (const { start, end } of this.#stale ? changed : []) {
      for (let block = this.blocks.at(start); block <= this.blocks.at(end); block++) this.#stale!.add(block);
    }
    if (changed.length) this.#repaint([layer]);
  }

  #repaint(layers: readonly Layer[]): void {
    if (!this.#stale) {
      for (const layer of layers) this.#layers.highlight(layer, this.#painted, (one) => this.#static(one));
      return;
    }
    for (let block = this.blocks.at(this.#painted.start); block <= this.blocks.at(this.#painted.end); block++) {
      if (this.#stale.delete(block)) this.#redraw(block);
    }
  }

  /** The marks on a character, the shortest first. */
  marksAt(unit: number): Painted[] {
    const found: Painted[] = [];
    for (const mark of this.#marks) {
      if (mark.start > unit) break;
      if (mark.end > unit) found.push(mark);
    }
    return found.sort((a, b) => a.end - a.start - (b.end - b.start));
  }

  #watch(): void {
    let asked = false;
    const look = (): void => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        const { start, end } = this.#seen();
        if (start < this.#painted.start || end > this.#painted.end) this.#paintAround(start - REACH, end + REACH);
      });
    };
    (this.scroller ?? window).addEventListener("scroll", look, { passive: true });
    const sizes = new ResizeObserver(look); // what stands above the text may grow as well
    for (const one of [document.body, this.place, this.scroller]) if (one) sizes.observe(one);
    addEventListener("resize", look);
    addEventListener("beforeprint", () => this.#paintAround(0, this.blocks.text.length));
    addEventListener("afterprint", () => (this.#painted = { start: 0, end: 0 })); // less again when somebody scrolls
  }

  /** The words in the window, without asking where each of them stands: lines stand below one another. */
  #seen(): Span {
    const box = this.scroller?.getBoundingClientRect();
    const [top, bottom] = [box?.top ?? 0, box?.bottom ?? innerHeight];
    return { start: this.#unitAbove(top), end: Math.min(this.blocks.text.length, this.#unitAbove(bottom) + 2 * LINE) };
  }

  /** A place not far before the first line that begins below `y`. */
  #unitAbove(y: number): number {
    const block = last(this.#paragraphs.length, (index) => this.#paragraphs[index]!.getBoundingClientRect().top < y);
    const start = this.blocks.startOf(block);
    const lines = Math.ceil((this.blocks.endOf(block) - start) / LINE);
    const topOf = (line: number): number => this.boxOf({ start: start + line * LINE, end: start + line * LINE + 8 }).top;
    return start + LINE * last(lines, (line) => topOf(line) < y);
  }

  #paintAround(start: number, end: number): void {
    this.#painted = { start: Math.max(0, start), end: Math.min(this.blocks.text.length, end) };
    this.#repaint(LAYERS);
  }

  #redraw(block: number): void {
    const selected = this.#native();
    this.#draw(this.#paragraphs[block]!, block);
    if (selected && getSelection()?.containsNode(this.#paragraphs[block]!, true)) this.select(selected);
  }

  #draw(paragraph: HTMLElement, index: number): void {
    const block = this.blocks.all[index]!;
    const start = this.blocks.startOf(index);
    const signs = kindOf(block) === "heading" ? [{ from: 0, to: 3, name: "sign" }] : [];
    for (const { from, to } of emphases(block)) {
      signs.push({ from, to: from + 1, name: "sign" }, { from: to - 1, to, name: "sign" });
      signs.push({ from: from + 1, to: to - 1, name: "emphasis" });
    }
    const cuts = [...signs.flatMap(({ from, to }) => [from, to]), ...lengths(block)].map((at) => start + at);
    const pieces = (this.#stale ? this.#layers : new Layers()).pieces(start, start + block.length, cuts);
    this.#nodes[index] = [];
    paragraph.replaceChildren(
      ...pieces.map((piece) => {
        const node = document.createTextNode(this.blocks.text.slice(piece.start, piece.end));
        this.#nodes[index]!.push(node);
        const drawn = signs.filter(({ from, to }) => start + from <= piece.start && start + to >= piece.end);
        const names = drawn.map(({ name }) => name);
        names.push(...piece.layers.map((layer) => `mark-${layer}`));
        if (names.length === 0) return node;
        const span = document.createElement("span");
        span.className = names.join(" ");
        span.append(node);
        return span;
      }),
    );
  }

  // Places of the text and of the page

  /** Between two pieces of a paragraph a beginning is taken to be in the second, an end in the first. */
  #placeOf(unit: number, begins: boolean): [Text | HTMLElement, number] {
    const block = this.blocks.at(unit);
    let left = Math.min(unit, this.blocks.endOf(block)) - this.blocks.startOf(block);
    const nodes = this.#nodes[block]!;
    for (const node of nodes) {
      if (left < node.length || (left === node.length && (!begins || node === nodes.at(-1)))) return [node, left];
      left -= node.length;
    }
    return [this.#paragraphs[block]!, 0];
  }

  #unitOf(node: Node, offset: number): number {
    const block = this.#blockOf(node);
    if (block !== undefined && node instanceof Text) {
      let unit = this.blocks.startOf(block) + offset;
      for (const one of this.#nodes[block]!) {
        if (one === node) break;
        unit += one.length;
      }
      return unit;
    }
    const point = document.createRange();
    point.setStart(node, offset);
    if (block !== undefined) {
      const before = this.#nodes[block]!.filter((one) => point.comparePoint(one, 0) < 0);
      return this.blocks.startOf(block) + before.reduce((sum, one) => sum + one.length, 0);
    }
    const next = this.#paragraphs.findIndex((paragraph) => point.comparePoint(paragraph, 0) >= 0);
    return next < 0 ? this.blocks.text.length : this.blocks.startOf(next);
  }

  #blockOf(node: Node): number | undefined {
    for (let one: Node | null = node; one && one !== this.place; one = one.parentNode) {
      const found = this.#index.get(one);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  range({ start, end }: Span): Range {
    const range = document.createRange();
    range.setStart(...this.#placeOf(start, true));
    range.setEnd(...this.#placeOf(end, false));
    return range;
  }

  /** Cheaper than a range: the browser does not keep it up to date. */
  #static({ start, end }: Span): StaticRange {
    const [[startContainer, startOffset], [endContainer, endOffset]] = [this.#placeOf(start, true), this.#placeOf(end, false)];
    return new StaticRange({ startContainer, startOffset, endContainer, endOffset });
  }

  paragraphAt(unit: number): HTMLElement {
    return this.#paragraphs[this.blocks.at(unit)]!;
  }

  /** The place that is nearest to a point of the window; null: the point is not on this text. */
  near(x: number, y: number): number | null {
    const found = caretAt(x, y);
    return found && this.place.contains(found[0]) ? this.#unitOf(...found) : null;
  }

  /** The character under a point; null: there is none. */
  under(x: number, y: number): number | null {
    const near = this.near(x, y);
    if (near === null) return null;
    const hit = (unit: number): boolean =>
      unit >= 0 &&
      [...this.range({ start: unit, end: unit + 1 }).getClientRects()].some(
        (box) => x >= box.left && x <= box.right && y >= box.top && y <= box.bottom,
      );
    return [near, near - 1].find(hit) ?? null;
  }

  /** Where words stand in the window. */
  boxOf(span: Span): DOMRect {
    const box = this.range(span).getBoundingClientRect();
    return box.height ? box : this.paragraphAt(span.start).getBoundingClientRect();
  }

  // What is selected

  /** The selection in this text, also while something else has the focus. */
  get course(): Course | null {
    return this.#course;
  }

  select(course: Course): void {
    this.#course = course;
    const forward = course.head >= course.base;
    getSelection()?.setBaseAndExtent(...this.#placeOf(course.base, forward), ...this.#placeOf(course.head, !forward));
  }

  #look(): void {
    this.#course = this.#native() ?? this.#course;
  }

  /** What the browser has selected in this text; the part of it that lies outside is left out. */
  #native(): Course | null {
    const selection = getSelection();
    if (!selection?.anchorNode || !selection.focusNode || !selection.rangeCount) return null;
    const within = [selection.anchorNode, selection.focusNode].map((node) => this.place.contains(node));
    if (!within[0] && !within[1]) return null;
    const unit = (node: Node, offset: number, inside: boolean): number => {
      if (inside) return this.#unitOf(node, offset);
      return this.place.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_PRECEDING ? 0 : this.blocks.text.length;
    };
    return {
      base: unit(selection.anchorNode, selection.anchorOffset, within[0]!),
      head: unit(selection.focusNode, selection.focusOffset, within[1]!),
    };
  }

  // Where it stands in the window

  /** The part of the window, from top to bottom, in which words are seen well. */
  get frame(): { top: number; bottom: number } {
    const box = this.scroller?.getBoundingClientRect();
    const [top, bottom] = [Math.max(0, box?.top ?? 0), Math.min(innerHeight, box?.bottom ?? innerHeight)];
    return { top: top + 48, bottom: Math.min(bottom - 96, innerHeight - this.covered - 16) };
  }

  isSeen(span: Span): boolean {
    const [box, { top, bottom }] = [this.boxOf(span), this.frame];
    return box.bottom > top && box.top < bottom;
  }

  /** Scroll only as far as is needed to see where the words begin. */
  reveal(span: Span): void {
    const [box, { top, bottom }] = [this.boxOf({ start: span.start, end: Math.min(span.end, span.start + 1) }), this.frame];
    if (box.top >= top && box.bottom <= bottom) return;
    const far = box.top < top - (bottom - top) || box.bottom > bottom + (bottom - top);
    if (far) this.scrollBy(box.top - top - (bottom - top) / 3);
    else this.scrollBy(box.top < top ? box.top - top : box.bottom - bottom);
  }

  scrollBy(distance: number): void {
    (this.scroller ?? window).scrollBy({ top: distance, behavior: "instant" });
  }
}

/** The last of `count` things, which are in order, that is before something; 0: none is. */
function last(count: number, isBefore: (index: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/** Where to cut a long paragraph: behind a blank or a stop, so that no word is set as two. */
function lengths(block: string): number[] {
  const found: number[] = [];
  const gap = /[\s。！？，]/g;
  for (let at = NODE; at < block.length; at = gap.lastIndex + NODE) {
    gap.lastIndex = at;
    if (!gap.exec(block)) break;
    found.push(gap.lastIndex);
  }
  return found;
}

function caretAt(x: number, y: number): [Node, number] | null {
  // The first is the standard; the second is what browsers had before it.
  if (document.caretPositionFromPoint) {
    const found = document.caretPositionFromPoint(x, y);
    return found && [found.offsetNode, found.offset];
  }
  const found = document.caretRangeFromPoint(x, y) as Range | null;
  return found && [found.startContainer, found.startOffset];
}
