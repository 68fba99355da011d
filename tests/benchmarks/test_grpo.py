"""The work of `make bench-grpo`: lengths, the order of the sides, and the fake judge's limit on concurrent requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from statistics import mean, median
from time import perf_counter

from benchmarks.grpo_work import AT_ONCE, Done, FakeJudge, in_turns, lengths_of


def test_lengths_have_a_long_tail_and_a_mean_per_group() -> None:
    found = lengths_of(4, 4, 450)
    every = [size for group in found for size in group]
    assert [len(group) for group in found] == [4] * 4
    assert mean(every) > median(every)
    assert abs(median(every) - 450) < 100
    assert max(every) > 2 * mean(every)
    assert [mean(group) for group in found] == sorted(mean(group) for group in found)


def test_the_judge_limits_concurrent_requests() -> None:
    judge = FakeJudge(0.02)

    async def ask() -> list[float]:
        return await asyncio.gather(*(judge.score(f"story {number}") for number in range(3 * AT_ONCE)))

    began = perf_counter()
    scores = asyncio.run(ask())
    assert perf_counter() - began >= 3 * 0.02
    assert len(set(scores)) == len(scores)
    assert all(0 <= one < 1 for one in scores)
    assert judge.seconds_of_step() >= 3 * 0.02
    assert asyncio.run(FakeJudge(0.0).score("story 1")) == scores[1]


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], Done]:
        def step() -> Done:
            order.append(name)
            return Done(float(len(order)), 1, {}, 0.0)

        return step

    found = in_turns("", 2, [side("a"), side("b")], side("c"))
    assert "".join(order) == "ab" + "abc" + "cba"
    assert [[one.seconds for one in each] for each in found] == [[3.0, 8.0], [4.0, 7.0], [5.0, 6.0]]
