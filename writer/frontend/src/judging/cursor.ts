/** Going through a text, and selecting in it, by keyboard. The cursor is the selected word itself: nothing else has to be drawn. */

import type { TextView } from "./textview";
import { type Course, spanOf, type Unit, Walk } from "./walk";

export class Cursor {
  readonly walk: Walk;

  constructor(readonly view: TextView) {
    this.walk = new Walk(view.blocks);
  }

  /** Where the cursor is; at first, and when its words are out of sight, at the first word that is seen. */
  get course(): Course {
    const course = this.view.course;
    if (course && this.view.isSeen(spanOf(course))) return course;
    const top = this.#top();
    return { base: top, head: top };
  }

  /** The first word that is seen. */
  first(): Course {
    const { start, end } = this.walk.wordAt(this.#top());
    return { base: start, head: end };
  }

  /** The words to mark: what is selected, or the word that the cursor is in. */
  get words(): { start: number; end: number } | null {
    const course = this.view.course;
    if (!course) return null;
    return this.view.blocks.trimmed(course.base === course.head ? this.walk.wordAt(course.base) : spanOf(course));
  }

  /** Return whether the key was one of the cursor's. */
  press(event: KeyboardEvent): boolean {
    const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
    if (altKey) return false;
    const jump = ctrlKey || metaKey;
    if (key === "ArrowRight" || key === "ArrowLeft") {
      if (jump) return false;
      this.#step("word", (key === "ArrowRight") !== this.#rightToLeft(), shiftKey);
    } else if (key === "ArrowDown" || key === "ArrowUp") {
      this.#step(jump ? "paragraph" : "sentence", key === "ArrowDown", shiftKey);
    } else if (key === "PageDown" || key === "PageUp") {
      this.#page(key === "PageDown", shiftKey);
    } else if (key === "Home" || key === "End") {
      this.#put(key === "Home" ? this.walk.wordAt(0) : this.walk.last(), shiftKey);
      if (key === "Home") this.view.scrollBy(-1e9);
    } else return false;
    return true;
  }

  #step(by: Unit, forward: boolean, growing: boolean): void {
    const course = growing ? (this.view.course ?? this.course) : this.course;
    if (growing) {
      const begun = course.base === course.head ? this.walk.wordAt(course.base) : null;
      const grown = this.walk.grow(begun ? { base: begun.start, head: begun.end } : course, by, forward);
      this.view.select(grown);
      this.view.reveal({ start: grown.head, end: grown.head + 1 });
    } else this.#put(this.walk.go(course, by, forward), false);
  }

  #page(down: boolean, growing: boolean): void {
    const { top, bottom } = this.view.frame;
    const before = this.view.place.getBoundingClientRect().top;
    this.view.scrollBy((down ? 0.9 : -0.9) * (bottom - top));
    const moved = this.view.place.getBoundingClientRect().top !== before;
    const end = down ? this.walk.last() : this.walk.wordAt(0);
    this.#put(moved ? this.walk.wordAt(this.#top()) : end, growing);
  }

  #put({ start, end }: { start: number; end: number }, growing: boolean): void {
    const base = this.view.course?.base;
    if (growing && base !== undefined) this.view.select({ base, head: start < base ? start : end });
    else this.view.select({ base: start, head: end });
    this.view.reveal({ start, end });
  }

  /** The first place that is seen. */
  #top(): number {
    const box = this.view.place.getBoundingClientRect();
    const { top, bottom } = this.view.frame;
    // Between two paragraphs there is nothing to hit: look a little lower.
    for (let y = Math.max(top, box.top + 4); y < bottom; y += 12) {
      const found = this.view.near(box.left + box.width / 2, y);
      if (found !== null) return this.walk.wordAt(this.#lineStart(found, y, box.left)).start;
    }
    return 0;
  }

  #lineStart(found: number, y: number, left: number): number {
    return this.view.near(left + 2, y) ?? found;
  }

  #rightToLeft(): boolean {
    return getComputedStyle(this.view.paragraphAt(this.course.head)).direction === "rtl";
  }
}
