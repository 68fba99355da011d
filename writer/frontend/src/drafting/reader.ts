/**
 * Reading a generation, without a browser: what is known so far, and what each message of the server does to it.
 *
 * A chunk is applied only if it is the next one, by its number and by its offset; a lower one is dropped, a higher one is
 * asked for. At the end length and SHA-256 are compared with the server's. docs/protocol.md, "The reader".
 */

import { points } from "../shared/text";
import type { ChannelName, Chunk } from "./log";

export type State = "queued" | "running" | "paused" | "done" | "stopped" | "failed";

export interface Row {
  type: "state";
  state: State;
  wish: "" | "pause" | "stop";
  ending: "" | "ended" | "landed" | "cut";
  notice: string;
  place: number;
  words: number;
  target: number;
  last_seq: number;
  revision: string;
  model_ready: boolean;
}

export interface Heartbeat {
  type: "heartbeat";
  last_seq: number;
}

export interface End {
  type: "end";
  state: State;
  ending: Row["ending"];
  last_seq: number;
  chars: number;
  sha256: string;
  words: number;
}

export type Message = Row | Chunk | Heartbeat | End;

/** What the shell has to do after a message. */
export type Effect =
  | { do: "append"; channel: ChannelName; text: string }
  | { do: "row"; row: Row }
  | { do: "ask"; after: number }
  | { do: "verify"; end: End };

export interface Channel {
  readonly text: string;
  readonly points: number;
}

const EMPTY: Channel = { text: "", points: 0 };

export class Reader {
  seq = 0;
  row: Row | null = null;
  #channels: Record<ChannelName, Channel> = { story: EMPTY, thinking: EMPTY };
  #asked = -1;

  get story(): Channel {
    return this.#channels.story;
  }

  get thinking(): Channel {
    return this.#channels.thinking;
  }

  apply(message: Message): Effect[] {
    switch (message.type) {
      case "state":
        this.row = message;
        return [{ do: "row", row: message }];
      case "chunk":
        return this.#chunk(message);
      case "heartbeat":
        return message.last_seq > this.seq ? this.#ask() : [];
      case "end":
        return message.last_seq > this.seq ? this.#ask() : [{ do: "verify", end: message }];
    }
  }

  /** The copy was wrong: begin again from nothing. */
  forget(): Effect[] {
    this.seq = 0;
    this.#channels = { story: EMPTY, thinking: EMPTY };
    this.#asked = -1;
    return this.#ask();
  }

  /** A new connection: whatever was asked of the old one is not coming. */
  connected(): void {
    this.#asked = -1;
  }

  #chunk(chunk: Chunk): Effect[] {
    if (chunk.seq <= this.seq) return [];
    const channel = this.#channels[chunk.channel];
    if (chunk.first !== this.seq + 1) return this.#ask();
    if (chunk.start !== channel.points) return this.forget();
    this.seq = chunk.seq;
    this.#asked = -1;
    this.#channels[chunk.channel] = { text: channel.text + chunk.text, points: channel.points + points(chunk.text) };
    return [{ do: "append", channel: chunk.channel, text: chunk.text }];
  }

  /** Ask once for what is missing: while the answer is under way, every later chunk shows the same gap. */
  #ask(): Effect[] {
    if (this.#asked === this.seq) {
      this.#asked = -1; // the next sign of the same gap asks again, so that a lost answer is not waited for for ever
      return [];
    }
    this.#asked = this.seq;
    return [{ do: "ask", after: this.seq }];
  }
}

export function isLive(state: State | undefined): boolean {
  return state === "queued" || state === "running";
}
