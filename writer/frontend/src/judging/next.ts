/** The next turn at a pair, asked for until the server answers. */

import { ApiError, request, Unreachable } from "../shared/api";

const RETRY = 3_000;

/** It will pass: the connection is away, or the reader has to sign in again. */
export const passing = (error: unknown): boolean =>
  error instanceof Unreachable || (error instanceof ApiError && (error.signedOut || error.status >= 500));

/**
 * The id of the next reading; null when nothing is waiting; undefined when the reader does something else meanwhile (`over`),
 * or the answer is no. `failed` is called each time that no reading came.
 */
export async function nextReading(over: () => boolean, failed: (error: unknown) => void): Promise<string | null | undefined> {
  while (!over()) {
    try {
      const found = await request<{ id: string } | undefined>("POST", "/api/readings");
      return over() ? undefined : (found?.id ?? null);
    } catch (error) {
      if (!over()) failed(error);
      if (!passing(error)) return undefined;
    }
    await woken();
  }
  return undefined;
}

/** A moment later, or as soon as the connection or the reader is back. */
function woken(): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, RETRY);
    function done(): void {
      clearTimeout(timer);
      for (const event of ["online", "focus"]) removeEventListener(event, done);
      resolve();
    }
    for (const event of ["online", "focus"]) addEventListener(event, done);
  });
}
