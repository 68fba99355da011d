/** A writer reads what editors noted: the text as it is now, the notes painted on it, the list beside it. Nothing changes. */

import "../shared/site.css";
import "../shared/prose.css";
import "../shared/desk.css";
import "./marking.css";
import { copy, element } from "../shared/page";
import { LAYER_OF } from "./passages";
import { Sheet } from "./sheet";
import { type Painted, TextView } from "./textview";

interface Note {
  id: string;
  start: number | null;
  end: number | null;
  severity: number;
  state: "certain" | "uncertain" | "gone";
}

const given = JSON.parse(element("notes").textContent) as { text: string; marks: Note[] };
const view = new TextView(element("text"), given.text, "The text");
const list = element("marks");
const pane = element("marks-pane");
const sheet = new Sheet(view);
let active: Painted | undefined;

const painted = given.marks.flatMap(({ id, start, end, severity, state }): Painted[] => {
  if (start === null || end === null) return [];
  const layer = state === "certain" ? (LAYER_OF[severity] ?? "major") : "unsure";
  return [{ id, start: view.blocks.toUnit(start), end: view.blocks.toUnit(end), layer }];
});
view.paint(painted);

function activate(id: string | undefined): void {
  active = painted.find((one) => one.id === id);
  view.layer("active", active ? [active] : []);
  for (const item of list.children as Iterable<HTMLElement> & HTMLCollection) {
    if (item.dataset.mark === id && active) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
}

view.place.addEventListener("click", (event) => {
  if (!getSelection()?.isCollapsed) return;
  const unit = view.under(event.clientX, event.clientY);
  const found = unit === null ? [] : view.marksAt(unit);
  const next = found[(found.findIndex(({ id }) => id === active?.id) + 1) % Math.max(1, found.length)];
  activate(next?.id);
  if (!next) return;
  sheet.open(next);
  const item = list.querySelector<HTMLElement>("[aria-current]");
  if (item) pane.scrollTop += item.getBoundingClientRect().top - pane.getBoundingClientRect().top - 48;
});

list.addEventListener("click", (event) => {
  const target = event.target as HTMLElement;
  const item = target.closest<HTMLElement>("[data-mark]");
  if (!item || target.closest("summary")) return;
  if (target.matches(".copy")) return void copy(item.querySelector(".better")!.textContent, target);
  activate(item.dataset.mark);
  if (!active) return;
  if (target.matches(".quote")) sheet.close();
  view.reveal(active);
});

document.body.dataset.ready = "";
