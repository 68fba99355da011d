import { expect, test } from "vitest";
import { Speed, timeLeft } from "./speed";

test("is the words of the last half minute", () => {
  const speed = new Speed();
  for (let second = 0; second <= 120; second++) speed.saw(second < 60 ? second * 10 : 600 + (second - 60) * 2, second * 1000);
  expect(speed.perMinute(120_000)).toBeCloseTo(120, 0);
});

test("says nothing from too little", () => {
  const speed = new Speed();
  expect(speed.perMinute(0)).toBeNull();
  speed.saw(10, 0);
  speed.saw(20, 1_000);
  expect(speed.perMinute(1_000)).toBeNull();
});

test("slows down when nothing comes", () => {
  const speed = new Speed();
  speed.saw(0, 0);
  speed.saw(100, 10_000);
  expect(speed.perMinute(10_000)).toBeCloseTo(600);
  expect(speed.perMinute(20_000)).toBeCloseTo(300);
});

test.each([
  [100, 3000, 400, "about 7 min left"],
  [2900, 3000, 400, "less than a minute left"],
  [100, 12000, 60, "about 3 h left"],
  [3100, 3000, 400, ""],
  [100, 3000, null, ""],
])("time left of %d of %d words", (words, target, rate, said) => expect(timeLeft(words, target, rate)).toBe(said));
