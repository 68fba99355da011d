/** The measures of a run over its steps, and their pictures: one small chart a measure, drawn by uPlot. */

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Told {
  kind: "metrics" | "phase" | "log" | "resumed" | "model_saved" | "ended";
  time: number;
  step: number | null;
  body: { values?: Record<string, number> };
  /** What people read of it. */
  text: string;
}

/** A step that was repeated after a crash counts as it was reported last. */
export class Series {
  readonly #values = new Map<string, Map<number, number>>();

  add(event: Told): void {
    if (event.kind !== "metrics" || event.step === null) return;
    for (const [name, value] of Object.entries(event.body.values ?? {})) {
      if (!Number.isFinite(value)) continue;
      let steps = this.#values.get(name);
      if (!steps) this.#values.set(name, (steps = new Map()));
      steps.set(event.step, value);
    }
  }

  get names(): string[] {
    return [...this.#values.keys()];
  }

  points(name: string): [number[], number[]] {
    const steps = [...(this.#values.get(name) ?? new Map<number, number>())].sort(([one], [other]) => one - other);
    return [steps.map(([step]) => step), steps.map(([, value]) => value)];
  }

  last(name: string): [number, number] {
    const [steps, values] = this.points(name);
    return [steps.at(-1) ?? 0, values.at(-1) ?? Number.NaN];
  }
}

const HEIGHT = 170;
const STEPS = [1, 2, 5].flatMap((one) => [0, 1, 2, 3, 4, 5, 6].map((power) => one * 10 ** power)).sort((one, other) => one - other);
/** What people look at first; the rest follows by name. */
const FIRST = ["loss", "held_out_loss", "accuracy", "held_out_accuracy", "margin", "grad_norm", "learning_rate", "tokens_per_second"];
const HIDDEN = new Set(["tokens", "seconds"]);

export function inWords(name: string, words: Record<string, string>): string {
  return words[name] ?? name.replaceAll("_", " ");
}

/** `before` come before all others. */
export function inOrder(names: string[], before: string[] = []): string[] {
  const order = [...before, ...FIRST];
  const place = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
  return names.filter((name) => !HIDDEN.has(name)).sort((one, other) => place(one) - place(other) || one.localeCompare(other));
}

/** A tick of an axis in as few letters as it has room for. */
export function short(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 0.001 || size >= 1e6 ? Number(value.toPrecision(3)).toExponential().replace("e+", "e") : Number(value.toPrecision(4)).toString();
}

export class Curves {
  readonly #charts = new Map<string, uPlot>();

  constructor(
    readonly place: HTMLElement,
    readonly words: Record<string, string> = {},
  ) {
    new ResizeObserver(() => {
      for (const chart of this.#charts.values()) chart.setSize({ width: this.#width(), height: HEIGHT });
    }).observe(place);
  }

  draw(series: Series): void {
    for (const name of inOrder(series.names, Object.keys(this.words))) {
      const points = series.points(name);
      const chart = this.#charts.get(name);
      if (chart) chart.setData(points);
      else this.#charts.set(name, this.#make(name, points));
    }
  }

  #width(): number {
    const columns = Math.max(1, Math.floor(this.place.clientWidth / 340));
    return Math.floor(this.place.clientWidth / columns) - 16;
  }

  #make(name: string, points: [number[], number[]]): uPlot {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = inWords(name, this.words);
    figure.append(caption);
    this.place.append(figure);
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--soft").trim() || "#666";
    const stroke = style.getPropertyValue("--accent").trim() || "#7a3b1d";
    const axis = { stroke: ink, grid: { stroke: `${ink}22` }, ticks: { stroke: `${ink}22` }, size: 52 };
    return new uPlot(
      {
        width: this.#width(),
        height: HEIGHT,
        scales: { x: { time: false } },
        legend: { show: false },
        cursor: { y: false },
        axes: [
          { ...axis, size: 32, incrs: STEPS },
          { ...axis, values: (_, ticks) => ticks.map(short) },
        ],
        series: [{}, { stroke, width: 1.5, points: { show: points[0].length < 30, size: 4 } }],
      },
      points,
      figure,
    );
  }
}
