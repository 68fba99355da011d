/** Keys for the page of violations, and what was typed kept in this browser. The page's forms do the work, without this too. */

import "../shared/site.css";
import "./violations.css";
import { element, show } from "../shared/page";
import { clearAway, Kept } from "./kept";
import { isField, listen } from "./keys";

const found = (id: string): HTMLElement | null => document.getElementById(id);
const user = Number(element("violations").dataset.user);
const [accept, reject, mend] = ["accept", "reject", "mend"].map(found) as [HTMLFormElement | null, HTMLDetailsElement | null, HTMLDetailsElement | null];

/** A judgement is on its way: the page is about to be another one. */
let busy = false;

document.addEventListener("submit", (event) => {
  if (busy) event.preventDefault();
  busy = true;
});
addEventListener("pageshow", () => (busy = false));

function keepMended(): void {
  const field = found("mended") as HTMLTextAreaElement | null;
  if (!field) return;
  const draft = new Kept<string>("violation", user, element("violation").dataset.violation);
  field.value = draft.get() ?? field.value;
  field.addEventListener("input", () => draft.set(field.value));
}

function unfold(details: HTMLDetailsElement, field: string): void {
  details.open = true;
  details.querySelector<HTMLElement>(field)?.focus();
}

/** The form that is being filled in. */
const filling = (): HTMLFormElement | null => document.activeElement?.closest<HTMLFormElement>("details[open] form") ?? null;

function choose(digit: number): void {
  const reason = reject!.querySelectorAll<HTMLInputElement>("[name=reason]")[digit - 1];
  if (!reason) return;
  reason.checked = true;
  const note = element<HTMLInputElement>("note");
  if (reason.value === "other" && !note.value.trim()) note.focus();
  else reason.form!.requestSubmit();
}

function single(key: string): (() => void) | undefined {
  if (key === "u") return () => found("undo")?.click();
  if (!accept || !reject || !mend) return undefined;
  if (reject.open && "12345".includes(key)) return () => choose(Number(key));
  const keys: Record<string, () => void> = {
    a: () => accept.requestSubmit(),
    r: () => unfold(reject, "[name=reason]"),
    m: () => unfold(mend, "textarea"),
  };
  return keys[key];
}

function escape(): void {
  const open = document.activeElement?.closest("details") ?? null;
  if (!open) return;
  open.open = false;
  open.querySelector("summary")!.focus();
}

clearAway("violation");
keepMended();
show(element("keys-button"), true);
listen(user, {
  enter: () => isField(document.activeElement) && filling()?.requestSubmit(),
  escape,
  undo: () => found("undo")?.click(),
  single,
});
