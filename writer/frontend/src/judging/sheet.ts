/** The list beside the text. On a narrow window it is a sheet over the lower half, opened by a button or a tap on a mark. */

import { element } from "../shared/page";
import type { Span } from "./blocks";
import type { TextView } from "./textview";

export class Sheet {
  readonly #pane = element("marks-pane");
  readonly #button = element("show-marks");

  constructor(readonly view: TextView) {
    this.#button.addEventListener("click", () => (document.body.dataset.marks === "open" ? this.close() : this.open()));
  }

  /** Open it, and keep these words in sight. */
  open(words?: Span): void {
    this.#set(true);
    if (words) this.view.reveal(words);
  }

  close(): void {
    this.#set(false);
  }

  #set(open: boolean): void {
    document.body.dataset.marks = open ? "open" : "";
    this.#button.setAttribute("aria-expanded", String(open));
    this.view.covered = open && getComputedStyle(this.#pane).position === "fixed" ? this.#pane.offsetHeight : 0;
  }
}
