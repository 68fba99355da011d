/** The button that appears beside what a pointer has selected. Whoever selects by keyboard has a key for it. */

import { element, show } from "../shared/page";
import type { Cursor } from "./cursor";
import type { Palette } from "./palette";
import type { Course } from "./walk";

const RESTED = 120;

export class MarkButton {
  readonly #button = element<HTMLButtonElement>("mark-words");
  /** What was selected last was selected by a pointer. */
  #byPointer = false;
  #held: Course | null = null;
  #waiting: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly cursor: Cursor,
    readonly palette: Palette,
    mark: () => void,
  ) {
    const { view } = cursor;
    view.place.addEventListener("pointerdown", () => (this.#byPointer = true));
    addEventListener("keydown", () => (this.#byPointer = false));
    // A press on the button may take the selection away before it is a click.
    this.#button.addEventListener("pointerdown", () => (this.#held = view.course));
    this.#button.addEventListener("mousedown", (event) => event.preventDefault());
    this.#button.addEventListener("click", () => {
      if (this.#held) view.select(this.#held);
      this.#byPointer = false;
      mark();
    });
    document.addEventListener("selectionchange", () => {
      clearTimeout(this.#waiting);
      if (!palette.isOpen || !this.#button.hidden) this.#waiting = setTimeout(() => this.#look(), RESTED);
    });
  }

  #look(): void {
    const { course } = this.cursor.view;
    const selected = course !== null && course.base !== course.head && !getSelection()?.isCollapsed;
    const words = selected && this.#byPointer && !this.palette.isOpen ? this.cursor.words : null;
    show(this.#button, words !== null);
    if (!words) return;
    const box = this.cursor.view.boxOf({ start: words.end - 1, end: words.end });
    this.#button.style.left = `${Math.min(box.right, document.documentElement.clientWidth - 96) + scrollX}px`;
    this.#button.style.top = `${box.bottom + scrollY}px`;
  }
}
