/** What the page says about the writing: words of words asked, speed, time left, the queue, notices, and the end. */

import { element, number, say, show } from "../shared/page";
import type { Row, State } from "./reader";
import { type Speed, timeLeft } from "./speed";

export interface Situation {
  row: Pick<Row, "state" | "wish" | "ending" | "notice" | "place" | "target" | "model_ready"> | null;
  words: number;
  asked: number;
  connected: boolean;
}

export class StatusView {
  readonly #bar = element<HTMLProgressElement>("progress");
  readonly #count = element("words");
  readonly #pace = element("pace");
  readonly #notice = element("notice");
  readonly #ending = element("ending");
  readonly #spoken = element("spoken");
  #lastSpoken = { state: "", share: 0 };

  show(now: Situation, speed: Speed): void {
    const { row, words } = now;
    const target = row?.target ?? now.asked;
    this.#bar.max = Math.max(target, 1);
    this.#bar.value = Math.min(words, target);
    say(this.#count, `${number(words)} of ${number(target)} words`);
    say(this.#pace, row ? pace(now, speed) : "");
    say(this.#notice, row ? notice(now, speed) : "");
    show(this.#notice, this.#notice.textContent !== "");
    say(this.#ending, row ? ending(row.state, row.ending, target, words) : "");
    show(this.#ending, this.#ending.textContent !== "");
    document.body.dataset.state = row?.state ?? "none";
    this.#speak(row?.state, words, target);
  }

  /** For screen readers: each change of state, and each quarter of the way. Never the words themselves. */
  #speak(state: State | undefined, words: number, target: number): void {
    const share = Math.floor((4 * words) / Math.max(target, 1));
    if (state === this.#lastSpoken.state && share === this.#lastSpoken.share) return;
    const first = this.#lastSpoken.state === "";
    this.#lastSpoken = { state: state ?? "", share };
    if (!first || state === "running") say(this.#spoken, `${this.#pace.textContent || this.#ending.textContent}. ${this.#count.textContent}.`);
  }
}

function pace({ row, words, connected }: Situation, speed: Speed): string {
  if (!row) return "";
  if (row.wish === "pause" && row.state === "running") return "Pausing…";
  if (row.wish === "stop" && row.state === "running") return "Stopping…";
  switch (row.state) {
    case "queued":
      return row.place > 1 ? `Number ${number(row.place)} in the queue` : "Next in the queue";
    case "running": {
      if (!connected) return "Reconnecting…";
      const rate = speed.perMinute(Date.now());
      if (rate === null) return "Writing";
      return [`${number(Math.round(rate))} words a minute`, timeLeft(words, row.target, rate)].filter(Boolean).join(", ");
    }
    case "paused":
      return "Paused";
    case "stopped":
      return "Stopped";
    case "failed":
      return "Interrupted";
    case "done":
      return "Finished";
  }
}

function notice({ row }: Situation, speed: Speed): string {
  if (!row) return "";
  if (row.notice) return row.notice;
  // Words that come say more than an answer of a moment ago.
  if (!row.model_ready && speed.perMinute(Date.now()) === null && (row.state === "queued" || row.state === "running")) {
    return "The model is being loaded, or its server is away. The story continues by itself as soon as it answers.";
  }
  return "";
}

export function ending(state: State, how: Row["ending"], asked: number, words: number): string {
  const figures = `Asked for ${number(asked)} words, got ${number(words)}.`;
  if (state === "done" && how === "cut") return `The text was cut off before its end. ${figures}`;
  if (state === "done") return figures;
  return "";
}
