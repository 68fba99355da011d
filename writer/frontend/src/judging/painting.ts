/**
 * Marks painted over words, without changing them: the CSS Custom Highlight API.
 *
 * A layer is a look; its spans may overlap. Several views on one page share the layers. Only what is near the window is
 * painted: whenever anything on a page changes, a letter in a field included, Chromium goes through all painted ranges.
 * Where there is no such API, the view cuts its paragraphs into pieces and gives each the classes of its layers.
 */

import type { Span } from "./blocks";

/** From the lowest to the highest. `over`: where marks overlap; `chosen`: the words that a palette is open for. */
export const LAYERS = ["minor", "major", "critical", "unsure", "over", "active", "chosen"] as const;
export type Layer = (typeof LAYERS)[number];

export const canHighlight = (): boolean => typeof Highlight === "function" && "highlights" in CSS;

/** What one view has painted. */
export class Layers {
  #spans = new Map<Layer, readonly Span[]>();
  #ranges = new Map<Layer, Map<string, AbstractRange>>();

  get(layer: Layer): readonly Span[] {
    return this.#spans.get(layer) ?? [];
  }

  /** Return the spans that were, or are now, in the layer and not in both: there is something to draw anew. */
  set(layer: Layer, spans: readonly Span[]): Span[] {
    const [before, after] = [this.get(layer), spans].map((all) => new Set(all.map(keyOf))) as [Set<string>, Set<string>];
    this.#spans.set(layer, spans);
    return [...[...before].filter((key) => !after.has(key)), ...[...after].filter((key) => !before.has(key))].map(spanOfKey);
  }

  /** Paint what of a layer lies in `near`, and nothing else. */
  highlight(layer: Layer, near: Span, rangeOf: (span: Span) => AbstractRange): void {
    const shared = highlightOf(layer);
    const painted = this.#ranges.get(layer) ?? new Map<string, AbstractRange>();
    const inside = this.get(layer).filter(({ start, end }) => start < near.end && end > near.start);
    const wanted = new Map(inside.map((span) => [keyOf(span), span]));
    for (const [key, range] of painted) {
      if (!wanted.has(key) && painted.delete(key)) shared.delete(range);
    }
    for (const [key, span] of wanted) {
      if (painted.has(key)) continue;
      const range = rangeOf(span);
      painted.set(key, range);
      shared.add(range);
    }
    this.#ranges.set(layer, painted);
  }

  /** The layers at each place between `start` and `end`, as pieces in order. */
  pieces(start: number, end: number, cuts: readonly number[] = []): { start: number; end: number; layers: Layer[] }[] {
    const inside = LAYERS.flatMap((layer) =>
      this.get(layer).flatMap((span) => (span.start < end && span.end > start ? [{ layer, ...span }] : [])),
    );
    const places = [start, end, ...cuts, ...inside.flatMap((span) => [span.start, span.end])];
    const borders = [...new Set(places)].filter((at) => at >= start && at <= end).sort((a, b) => a - b);
    return borders.slice(1).map((to, index) => {
      const from = borders[index]!;
      const layers = new Set(inside.filter((span) => span.start <= from && span.end >= to).map((span) => span.layer));
      return { start: from, end: to, layers: [...layers] };
    });
  }
}

const keyOf = ({ start, end }: Span): string => `${start}-${end}`;

function spanOfKey(key: string): Span {
  const [start, end] = key.split("-").map(Number) as [number, number];
  return { start, end };
}

/** Where two or more spans lie over each other. */
export function overlaps(spans: readonly Span[]): Span[] {
  const borders = spans.flatMap(({ start, end }) => [
    { at: start, by: 1 },
    { at: end, by: -1 },
  ]);
  borders.sort((a, b) => a.at - b.at || a.by - b.by);
  const found: Span[] = [];
  let [depth, began] = [0, 0];
  for (const { at, by } of borders) {
    if (by === 1 && depth === 1) began = at;
    if (by === -1 && depth === 2 && at > began) found.push({ start: began, end: at });
    depth += by;
  }
  return found;
}

function highlightOf(layer: Layer): Highlight {
  const name = `mark-${layer}`;
  const known = CSS.highlights.get(name);
  if (known) return known;
  const made = new Highlight();
  made.priority = LAYERS.indexOf(layer);
  CSS.highlights.set(name, made);
  return made;
}
