/** A run as it goes: its state, its curves and its words, asked for once a second while it is at work and the page is looked at. */

import "../shared/site.css";
import "./studio.css";
import { element, number, say, show } from "../shared/page";
import { Curves, inWords, Series, type Told } from "./curves";

const LOOK = 1000;
const AWAY = 5000;
const MOST_LINES = 500;

interface State {
  state: string;
  said: string;
  wish: string;
  problem: string;
  step: number;
  steps: number;
  phase: string;
  planned: boolean;
  version: number | null;
  ended: boolean;
}

interface Answer {
  run: State;
  events: (Told & { seq: number })[];
}

const live = element("live");
const log = element<HTMLOListElement>("log");
const series = new Series();
/** Measures by the words for them, in the order in which they matter; others are named by themselves. */
const names = JSON.parse(element("names").textContent ?? "{}") as Record<string, string>;
const curves = new Curves(element("curves"), names);
let after = 0;
let timer = 0;

async function look(): Promise<void> {
  clearTimeout(timer);
  let wait = LOOK;
  let ended = false;
  try {
    const answer = await fetch(`${live.dataset.events}?after=${after}`, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const { run, events } = (await answer.json()) as Answer;
    tell(events);
    ended = state(run);
    if (events.length >= 2000) wait = 0; // there is more
  } catch {
    wait = AWAY;
  }
  if (!ended || wait === 0) timer = window.setTimeout(() => void look(), document.visibilityState === "visible" ? wait : AWAY);
}

/** Whether there is nothing more to come. What only the server can draw (buttons, the plan) is loaded again when it changes. */
function state(run: State): boolean {
  if (run.state !== live.dataset.state || (run.planned && !live.dataset.planned)) {
    location.reload();
    return true;
  }
  const steps = run.steps ? ` of ${number(run.steps)}` : "";
  say(element("progress"), run.step ? `${live.dataset.unit} ${number(run.step)}${steps}` : run.phase);
  const bar = element<HTMLProgressElement>("bar");
  if (run.steps) bar.max = run.steps;
  bar.value = run.step;
  show(bar, Boolean(run.steps) && !run.ended);
  say(element("problem"), run.problem);
  show(element("problem"), Boolean(run.problem));
  return run.ended;
}

function tell(events: (Told & { seq: number })[]): void {
  if (events.length === 0) return;
  const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  for (const event of events) {
    if (event.seq !== after + 1) continue;
    after = event.seq;
    series.add(event);
    if (event.text) line(event.time, event.text);
  }
  while (log.childElementCount > MOST_LINES) log.firstElementChild?.remove();
  if (follows) log.scrollTop = log.scrollHeight;
  show(element("log-section"), log.childElementCount > 0);
  show(element("curves-section"), series.names.length > 0);
  curves.draw(series);
  figures();
}

function line(time: number, words: string): void {
  const item = document.createElement("li");
  const clock = document.createElement("time");
  clock.textContent = new Date(time * 1000).toLocaleTimeString("en-GB");
  item.append(clock, ` ${words}`);
  log.append(item);
}

function figures(): void {
  element("figures").replaceChildren(
    ...series.names.map((name) => {
      const row = document.createElement("tr");
      const [step, value] = series.last(name);
      const words = inWords(name, names);
      for (const text of [words, number(step), value.toPrecision(4)]) {
        const cell = document.createElement("td");
        cell.textContent = text;
        if (text !== words) cell.className = "right";
        row.append(cell);
      }
      return row;
    }),
  );
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") void look();
});
void look();
