/**
 * The log of a generation: how its text is joined to the text that it continues, and the message in which its chunks travel.
 *
 * docs/protocol.md defines both. writer/stories/log.py is the same for the server; tests/writer/stories/log.json holds the
 * examples that both must answer alike.
 */

import { indexOfPoint, points } from "../shared/text";

const BLANKS = " \t\n";

/** `head` with `tail`, the rest of the log, behind it. */
export function join(head: string, tail: string): string {
  if (!tail) return head;
  const end = endOf(head);
  if (end === 0) return tail.slice(startOf(tail));
  return (head.includes("\n", end) ? head.slice(0, end) : head) + tail;
}

/** The last `chars` code points of the log, out of the whole text that `join` made. */
export function tailOf(whole: string, chars: number): string {
  const missing = chars - points(whole); // behind an empty head the blank line is left out
  return missing > 0 ? "\n".repeat(missing) + whole : whole.slice(indexOfPoint(whole, -missing));
}

/** Where the blanks at the end of a text begin. */
function endOf(text: string): number {
  let end = text.length;
  while (end > 0 && BLANKS.includes(text[end - 1]!)) end--;
  return end;
}

/** Where the first line of a text that is not blank begins. */
function startOf(text: string): number {
  let lead = 0;
  while (lead < text.length && BLANKS.includes(text[lead]!)) lead++;
  return text.slice(0, lead).lastIndexOf("\n") + 1;
}

export type ChannelName = "story" | "thinking";

/** Chunks of one channel that follow on one another. */
export interface Chunk {
  type: "chunk";
  /** The `seq` of the first of them. */
  first: number;
  /** The `seq` of the last of them. */
  seq: number;
  channel: ChannelName;
  /** What the channel held before, in code points. */
  start: number;
  text: string;
  /** Of the whole story, with these chunks. */
  words: number;
}

/** Of a text as UTF-8; null where the browser lends no cryptography (it does to https and localhost only): the length has to do. */
export async function sha256(text: string): Promise<string | null> {
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
