/** The view follows the end of the text only while the reader is there, and never pulls anybody away from a place. */

const NEAR = 48;

export class Follower {
  #following = false;
  #last = scrollY;

  constructor(
    readonly button: HTMLButtonElement,
    readonly end: HTMLElement,
  ) {
    addEventListener("scroll", () => this.#scrolled(), { passive: true });
    addEventListener("resize", () => this.#scrolled(), { passive: true });
    button.addEventListener("click", () => {
      this.#following = true;
      this.jump();
      this.#update();
    });
  }

  #live = false;

  set live(live: boolean) {
    this.#live = live;
    this.#following &&= live;
    if (live && this.#atEnd()) this.#following = true;
    this.#update();
  }

  /** Call after the text grew. */
  grown(): void {
    if (this.#following) this.jump();
    else this.#update();
  }

  jump(): void {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
    this.#last = scrollY;
  }

  #scrolled(): void {
    if (scrollY < this.#last - 1) this.#following = false;
    else if (this.#live && this.#atEnd()) this.#following = true;
    this.#last = scrollY;
    this.#update();
  }

  #atEnd(): boolean {
    return scrollY + innerHeight >= document.documentElement.scrollHeight - NEAR;
  }

  #update(): void {
    const hidden = !this.#live || this.#following || this.end.getBoundingClientRect().top <= innerHeight;
    if (this.button.hidden !== hidden) this.button.hidden = hidden;
  }
}
