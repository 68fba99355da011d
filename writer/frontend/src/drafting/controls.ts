/** The buttons: pause, stop, continue, ask for more. */

import { request } from "../shared/api";
import { element, say, show } from "../shared/page";
import type { Row } from "./reader";

export class Controls {
  readonly #pause = element<HTMLButtonElement>("pause");
  readonly #stop = element<HTMLButtonElement>("stop");
  readonly #continue = element<HTMLButtonElement>("continue");
  readonly #more = element<HTMLFormElement>("more");
  readonly #problem = element("problem");

  /** `saved` makes sure that what the model continues is what the writer sees. */
  constructor(
    readonly story: string,
    readonly generation: string | null,
    readonly saved: () => Promise<boolean>,
  ) {
    this.#pause.onclick = () => void this.#ask(this.#pause, "pause");
    this.#stop.onclick = () => void this.#ask(this.#stop, "stop");
    this.#continue.onclick = () => void this.#ask(this.#continue, "continue");
    const key = crypto.getRandomValues(new Uint32Array(4)).join("-");
    this.#more.onsubmit = (event) => {
      event.preventDefault();
      const target = Number(new FormData(this.#more).get("target_words"));
      void this.#try(this.#more.querySelector("button")!, async () => {
        await request("POST", `/api/stories/${this.story}/generations`, { target_words: target, idempotency_key: key });
        location.reload();
      });
    };
  }

  show(row: Pick<Row, "state" | "wish"> | null, words: number): void {
    const live = row?.state === "queued" || row?.state === "running";
    const wished = live && row.wish !== "";
    show(this.#pause, live && !wished);
    show(this.#stop, (live && row.wish !== "stop") || row?.state === "paused");
    show(this.#continue, wished || ["paused", "stopped", "failed"].includes(row?.state ?? ""));
    say(this.#continue, row?.state === "failed" ? "Try again" : "Continue");
    const askable = !row || row.state === "done" || row.state === "stopped";
    show(this.#more, askable);
    const field = this.#more.elements.namedItem("target_words") as HTMLInputElement;
    if (askable && field !== document.activeElement && Number(field.value) <= words) field.value = String(Math.ceil((words + 500) / 100) * 100);
    say(this.#more.querySelector("span")!, words > 0 ? "Continue to" : "Write");
  }

  async #ask(button: HTMLButtonElement, what: "pause" | "stop" | "continue"): Promise<void> {
    await this.#try(button, () => request("POST", `/api/generations/${this.generation}/${what}`));
  }

  async #try(button: HTMLButtonElement, work: () => Promise<unknown>): Promise<void> {
    button.disabled = true;
    this.problem("");
    try {
      if (!(await this.saved())) this.problem("Your last changes are not saved yet, so the model was not asked.");
      else await work();
    } catch (error) {
      this.problem(error instanceof Error ? error.message : String(error));
    } finally {
      button.disabled = false;
    }
  }

  problem(text: string): void {
    say(this.#problem, text);
    show(this.#problem, text !== "");
  }
}
