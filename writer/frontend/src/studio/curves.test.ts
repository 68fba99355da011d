import { describe, expect, it } from "vitest";
import { inOrder, inWords, Series, short, type Told } from "./curves";

const metrics = (step: number, values: Record<string, number>): Told => ({ kind: "metrics", time: 0, step, body: { values }, text: "" });

describe("the measures of a run", () => {
  it("are in the order of their steps, and a step that was repeated counts as it was reported last", () => {
    const series = new Series();
    for (const event of [metrics(1, { loss: 3 }), metrics(2, { loss: 2 }), metrics(3, { loss: 9 }), metrics(2, { loss: 2.5 })]) series.add(event);
    expect(series.points("loss")).toEqual([[1, 2, 3], [3, 2.5, 9]]);
    expect(series.last("loss")).toEqual([3, 9]);
  });

  it("take no words and no nonsense", () => {
    const series = new Series();
    series.add({ kind: "log", time: 0, step: null, body: {}, text: "loss: 3" });
    series.add(metrics(1, { loss: Number.NaN, accuracy: 1 }));
    expect(series.names).toEqual(["accuracy"]);
  });

  it("have ticks that fit beside them", () => {
    expect([0, 0.0002, 0.30000000000000004, -1.5, 4000, 12_345_678].map(short)).toEqual(["0", "2e-4", "0.3", "-1.5", "4000", "1.23e7"]);
  });

  it("are shown with what matters first", () => {
    expect(inOrder(["seconds", "zeal", "grad_norm", "loss", "alpha"])).toEqual(["loss", "grad_norm", "alpha", "zeal"]);
    expect(inOrder(["loss", "rubric_P1", "reward"], ["reward", "rubric_P1"])).toEqual(["reward", "rubric_P1", "loss"]);
  });

  it("are named in words where there are some", () => {
    expect([inWords("rubric_P1", { rubric_P1: "P1: Premise" }), inWords("grad_norm", {})]).toEqual(["P1: Premise", "grad norm"]);
  });
});
