/** Keys that judge. They act while nobody types: in a field a key means its letter, and Ctrl+Enter saves. */

import { element } from "../shared/page";
import { Kept } from "./kept";

export interface Keys {
  enter(): void;
  escape(): void;
  undo(): void;
  /** What a key without Ctrl, Alt and such does. They can be switched off, for people who speak to their browser. */
  single(key: string): (() => void) | undefined;
}

/** The page has a dialog #keys with what the keys do, a button #keys-button, and a tick #single-keys. */
export function listen(user: number, keys: Keys): void {
  const kept = new Kept<boolean>("keys", user);
  const singles = element<HTMLInputElement>("single-keys");
  singles.checked = kept.get() ?? true;
  singles.addEventListener("change", () => kept.set(singles.checked));
  element("keys-button").addEventListener("click", () => element<HTMLDialogElement>("keys").showModal());
  for (const close of document.querySelectorAll<HTMLElement>("dialog [data-close]")) {
    close.addEventListener("click", () => close.closest("dialog")!.close());
  }
  document.addEventListener("keydown", (event) => {
    // A key that is held down too long judges once.
    if (event.defaultPrevented || event.isComposing || event.repeat || document.querySelector("dialog[open]")) return;
    const run = meaning(event, keys, singles.checked);
    if (!run) return;
    event.preventDefault();
    run();
  });
}

function meaning(event: KeyboardEvent, keys: Keys, singles: boolean): (() => void) | undefined {
  const control = event.ctrlKey || event.metaKey;
  const field = isField(event.target);
  if (control && event.key === "Enter") return () => keys.enter();
  if (control && event.key === "z" && !event.shiftKey && !field) return () => keys.undo();
  if (event.key === "Escape" && !control) return () => keys.escape();
  if (field || control || event.altKey) return undefined;
  if (event.key === "Enter") return isControl(event.target) ? undefined : () => keys.enter();
  if (event.key === "?") return () => element<HTMLDialogElement>("keys").showModal();
  return singles ? keys.single(event.key) : undefined;
}

/** Typing goes there, and commands nothing. */
export function isField(target: EventTarget | null): boolean {
  return target instanceof Element && target.matches("input:not([type=radio], [type=checkbox]), textarea, select");
}

/** Enter has a meaning of its own there. */
function isControl(target: EventTarget | null): boolean {
  return target instanceof Element && target.matches("button, a, summary, input");
}
