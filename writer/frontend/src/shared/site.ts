/** Every page but the drafting page. They work without this; it only makes some things shorter. */

import "./site.css";
import { copy } from "./page";

for (const presets of document.querySelectorAll<HTMLElement>("[data-presets-for]")) {
  const field = document.getElementById(presets.dataset.presetsFor ?? "") as HTMLInputElement | null;
  if (!field) continue;
  const buttons = [...presets.querySelectorAll("button")];
  const mark = (): void => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.value === field.value)));
  for (const button of buttons) {
    button.addEventListener("click", () => {
      field.value = button.value;
      mark();
    });
  }
  field.addEventListener("input", mark);
  mark();
  presets.hidden = false;
}

for (const button of document.querySelectorAll<HTMLButtonElement>("[data-copy]")) {
  const field = document.getElementById(button.dataset.copy ?? "") as HTMLInputElement | null;
  if (!field) continue;
  button.hidden = false;
  button.addEventListener("click", () => void copy(field.value, button));
}

/** A page that waits for something is fetched again and drawn anew where it differs, unless somebody is at work in it. */
const waits = (): boolean => document.querySelector("[data-again]") !== null;

async function again(): Promise<void> {
  const main = document.getElementById("main");
  if (main && document.visibilityState === "visible" && !main.contains(document.activeElement) && !main.querySelector("details[open]")) {
    const answer = await fetch(location.href, { redirect: "error" }).catch(() => null);
    const fresh = answer?.ok ? new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main") : null;
    if (fresh) main.replaceChildren(...fresh.childNodes);
  }
  if (waits()) window.setTimeout(() => void again(), 3000);
}

if (waits()) window.setTimeout(() => void again(), 3000);
