/** Small things every page uses. */

export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}`);
  return found as T;
}

/** Set a text only when it differs: screen readers announce what is set. */
export function say(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

export function show(target: HTMLElement, visible: boolean): void {
  if (target.hidden === visible) target.hidden = !visible;
}

/** Copy a text, and let the button say so. */
export async function copy(text: string, button: HTMLElement): Promise<void> {
  const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  say(button, done || copyFromField(text, button) ? "Copied" : "The browser does not allow it: select and copy by hand");
}

/** Without https browsers lend no clipboard, and some refuse it; a selection in a field is what is left, beside the button, since it may be in a dialog. */
function copyFromField(text: string, button: HTMLElement): boolean {
  const field = document.createElement("textarea");
  field.value = text;
  button.after(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  button.focus();
  return done;
}

const NUMBERS = new Intl.NumberFormat("en-GB");
export const number = (value: number): string => NUMBERS.format(value);
