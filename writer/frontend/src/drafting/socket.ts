/**
 * The connection that a reader reads from. It comes back by itself: at once the first time, then with growing delay, and at once
 * when the page becomes visible or the network returns.
 */

import { sha256 } from "./log";
import type { Effect, Message, Reader } from "./reader";

const FIRST_DELAY = 500;
const LONGEST_DELAY = 15_000;
/** A heartbeat comes every 5 s; a connection that is silent for longer is dead, whatever the browser reports. */
const SILENCE = 13_000;

export const GONE = 4404;
export const SIGNED_OUT = 4401;

export interface SocketEvents {
  effect(effect: Exclude<Effect, { do: "ask" }>): void;
  /** The text is complete and the same as the server's, or was thrown away and is being read again. */
  verified(whole: boolean): void;
  connected(yes: boolean): void;
  /** The server will not have this connection: 4401, 4404, or 0 where the browser does not say. */
  refused(code: number): void;
}

export class Connection {
  #socket: WebSocket | null = null;
  #failures = 0;
  #retry = 0;
  #silence = 0;
  #closed = false;

  constructor(
    readonly generation: string,
    readonly reader: Reader,
    readonly events: SocketEvents,
  ) {
    addEventListener("online", this.#now);
    addEventListener("offline", this.#drop);
    document.addEventListener("visibilitychange", this.#now);
    this.#open();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#silence);
    removeEventListener("online", this.#now);
    removeEventListener("offline", this.#drop);
    document.removeEventListener("visibilitychange", this.#now);
    this.#socket?.close();
  }

  /** Try now instead of later, for instance after signing in again. */
  readonly #now = (): void => {
    if (document.visibilityState === "visible" && !this.#socket && !this.#closed) this.#open();
  };

  readonly #drop = (): void => this.#lost(this.#socket);

  #open(): void {
    clearTimeout(this.#retry);
    const address = new URL(`/ws/generations/${this.generation}?after=${this.reader.seq}`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.#socket = new WebSocket(address));
    this.reader.connected();
    this.#listen();
    let heard = false;
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#listen();
      this.#failures = 0;
      heard = true;
      this.events.connected(true);
      this.#carryOut(this.reader.apply(JSON.parse(data as string) as Message));
    };
    socket.onclose = ({ code }) => {
      if (socket !== this.#socket || this.#closed) return;
      if (code === GONE || code === SIGNED_OUT || !heard) this.events.refused(code === 1006 ? 0 : code);
      if (code === GONE) this.close();
      else this.#lost(socket);
    };
  }

  #lost(socket: WebSocket | null): void {
    if (this.#closed || socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#silence);
    socket?.close();
    this.events.connected(false);
    const delay = this.#failures === 0 ? 0 : Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** (this.#failures - 1));
    this.#failures++;
    clearTimeout(this.#retry);
    this.#retry = window.setTimeout(() => this.#open(), delay * (0.5 + Math.random()));
  }

  #listen(): void {
    clearTimeout(this.#silence);
    this.#silence = window.setTimeout(this.#drop, SILENCE);
  }

  #carryOut(effects: Effect[]): void {
    for (const effect of effects) {
      if (effect.do === "ask") {
        if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ after: effect.after }));
        continue;
      }
      this.events.effect(effect);
      if (effect.do === "verify") void this.#verify(effect.end.chars, effect.end.sha256);
    }
  }

  async #verify(chars: number, expected: string): Promise<void> {
    const { seq, story } = this.reader;
    const same = story.points === chars && [expected, null].includes(await sha256(story.text));
    if (this.reader.seq !== seq || this.#closed) return; // more of it came meanwhile
    if (!same) this.#carryOut(this.reader.forget());
    this.events.verified(same);
  }
}
