/** The marks of one text as the page shows them: what the server has, with what was done here since. */

import type { Act, Done, Unsent } from "./acts";

export interface Mark {
  id: string;
  /** In code points, as the server counts. */
  start: number;
  end: number;
  quote: string;
  version: number;
  principle: string;
  severity: number;
  note: string;
  better: string;
}

export const SEVERITIES = ["", "Minor", "Major", "Critical"];
export const LAYER_OF = ["minor", "minor", "major", "critical"] as const;

const WORDING = ["version", "severity", "note", "better"] as const;

export class Passages {
  /** This editor has said that everything is marked. */
  finished = false;
  #marks = new Map<string, Mark>();
  readonly #names: Map<number, string>;

  constructor(
    marks: readonly Mark[],
    palette: readonly { version: number; name: string }[],
    /** The take that the page shows: acts on other texts are none of its business. */
    readonly take: number,
  ) {
    this.#names = new Map(palette.map(({ version, name }) => [version, name]));
    this.reset(marks, []);
  }

  /** What the server has, and on top of it what was not sent yet. */
  reset(marks: readonly Mark[], unsent: readonly Unsent[]): void {
    this.#marks = new Map(marks.map((mark) => [mark.id, mark]));
    for (const done of unsent) (done.undone ? this.revert(done) : this.apply(done));
  }

  get(id: string): Mark | undefined {
    return this.#marks.get(id);
  }

  /** In the order of the text. */
  get all(): Mark[] {
    return [...this.#marks.values()].sort((a, b) => a.start - b.start || a.end - b.end);
  }

  apply({ act }: Done): void {
    const id = String(act.id);
    if (act.kind === "finish" && act.take === this.take) this.finished = true;
    if (act.kind === "mark" && act.take === this.take) {
      const { start, end, quote } = act as unknown as Mark;
      this.#marks.set(id, { id, start, end, quote, ...this.#wording(act) });
    }
    const known = this.#marks.get(id);
    if (act.kind === "remark" && known) this.#marks.set(id, { ...known, ...this.#wording(act, known) });
    if (act.kind === "unmark") this.#marks.delete(id);
  }

  /** Undo an act; `before` is the mark as it was. */
  revert({ act, before }: Done): void {
    const id = String(act.id);
    if (act.kind === "finish" && act.take === this.take) this.finished = false;
    if (act.kind === "mark") this.#marks.delete(id);
    const was = before as { take: number; mark: Mark } | undefined;
    if (was?.take !== this.take) return;
    if ((act.kind === "remark" && this.#marks.has(id)) || act.kind === "unmark") this.#marks.set(id, was.mark);
  }

  #wording(act: Act, known?: Mark): Pick<Mark, (typeof WORDING)[number] | "principle"> {
    const [version, severity, note, better] = WORDING.map((name) => act[name]) as [number, number, string, string];
    const older = known?.version === version ? known.principle : "An older principle";
    return { version, severity, note, better, principle: this.#names.get(version) ?? older };
  }
}
