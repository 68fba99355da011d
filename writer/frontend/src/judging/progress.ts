/**
 * Where the reader of a pair is, and how much was read: sent to the server every few seconds and when the page is left.
 *
 * Losing such a message does no harm: the server only ever adds to what was seen. What it did not confirm stays in the
 * browser, so that a reload finds it before the last message has arrived.
 */

import type { Place } from "./alignment";
import { type Coverage, look, Presence, type Ranges } from "./coverage";
import { Kept } from "./kept";
import type { Panes } from "./panes";

export interface Told {
  place_left: Place;
  place_right: Place;
  seen_left: Ranges;
  seen_right: Ranges;
  seconds: number;
}

const TICK = 1_000;
const SEND_EVERY = 5_000;

/** What was read before: as the server has it, and as this browser has it where the server may not yet. */
export function resumed(kept: Kept<Told>, server: Told): Told {
  const here = kept.get();
  if (!here) return server;
  const seen = { seen_left: [...server.seen_left, ...here.seen_left], seen_right: [...server.seen_right, ...here.seen_right] };
  // Time only grows: with more of it on the server, somebody continued reading elsewhere.
  return { ...(server.seconds > here.seconds ? server : here), ...seen };
}

export class Progress {
  readonly #presence = new Presence();
  #milliseconds: number;
  #ticked = Date.now();
  #sent: string;
  /** Read no more: the pair is judged. The places are kept on. */
  over = false;

  constructor(
    readonly path: string,
    readonly kept: Kept<Told>,
    readonly panes: Panes,
    readonly left: Coverage,
    readonly right: Coverage,
    seconds: number,
    readonly changed: () => void,
  ) {
    this.#milliseconds = 1000 * seconds;
    this.#sent = kept.get() ? "" : this.#now;
    setInterval(() => this.#tick(), TICK);
    setInterval(() => void this.send(), SEND_EVERY);
    addEventListener("pagehide", () => void this.send());
    document.addEventListener("visibilitychange", () => void (document.visibilityState === "hidden" && this.send()));
  }

  get now(): Told {
    return {
      place_left: this.panes.left.place,
      place_right: this.panes.right.place,
      seen_left: this.left.ranges,
      seen_right: this.right.ranges,
      seconds: Math.floor(this.#milliseconds / 1000),
    };
  }

  get #now(): string {
    return JSON.stringify(this.now);
  }

  #tick(): void {
    const time = Math.min(Date.now() - this.#ticked, 2 * TICK); // a computer that slept read nothing
    this.#ticked = Date.now();
    if (!this.#presence.there || this.over) return;
    this.#milliseconds += time;
    const { left, right } = this.panes;
    if (look([[this.left, left.visible], [this.right, right.visible]], time)) this.changed();
  }

  /** Resolves when the server has it, or cannot be reached. */
  async send(): Promise<void> {
    const now = this.#now;
    if (now === this.#sent) return;
    this.kept.set(JSON.parse(now) as Told);
    // Not `request` of api.ts: this one outlives the page that sends it.
    const answer = await fetch(this.path, {
      method: "PATCH",
      credentials: "same-origin",
      redirect: "error",
      keepalive: true,
      headers: { "Content-Type": "application/json", "X-CSRFToken": /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? "" },
      body: now,
    }).catch(() => null);
    if (!answer?.ok) return;
    this.#sent = now;
    if (JSON.stringify(this.kept.get()) === now) this.kept.drop();
  }
}
