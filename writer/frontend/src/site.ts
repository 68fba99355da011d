/** Every page but the drafting page. They work without this; it only makes some things shorter. */

import "./styles/site.css";
import { copy, say } from "./page";

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
  button.addEventListener("click", () => void copy(field.value).then(() => say(button, "Copied")));
}
