from __future__ import annotations

from dataclasses import dataclass

from training.common.records import Domain
from training.instruct.selection import near_duplicates, not_best


@dataclass(frozen=True)
class Row:
    instruction: str
    score: float
    key: str
    task: str = "write"
    domain: Domain = "fiction"

    @property
    def rank(self) -> tuple[float, float, str]:
        return (-self.score, 0.0, self.key)


ASKED = "Write a short story about a widow who pays her rent with fish from the river, told by a child."
NEARLY = ASKED.replace("a child", "the child of the house")
OTHER = "I want something uneasy that plays at a weather station, with three people who do not trust each other."


def test_of_two_near_duplicates_the_better_is_kept() -> None:
    assert near_duplicates([Row(ASKED, 3, "a"), Row(NEARLY, 4, "b"), Row(OTHER, 1, "c")], 0.5) == {0: 1}
    assert near_duplicates([Row(ASKED, 4, "a"), Row(NEARLY, 4, "b")], 0.5) == {1: 0}  # equal: by their keys
    assert near_duplicates([Row(ASKED, 3, "a"), Row(NEARLY, 4, "b")], 0.95) == {}
    assert near_duplicates([Row(ASKED, 3, "a"), Row(ASKED.upper(), 4, "b")], 1.0) == {0: 1}


def test_instructions_of_different_tasks_are_not_compared() -> None:
    assert near_duplicates([Row(ASKED, 3, "a"), Row(ASKED, 4, "b", task="outline")], 0.5) == {}


def test_a_row_is_removed_only_for_one_that_is_kept() -> None:
    """The middle row is similar to both others, which are not similar to each other."""
    words = [f"word{number}" for number in range(40)]
    first, middle, last = (" ".join(words[start : start + 20]) for start in (0, 6, 12))
    assert near_duplicates([Row(first, 3, "a"), Row(middle, 2, "b"), Row(last, 1, "c")], 0.5) == {1: 0}
    assert near_duplicates([Row(first, 2, "a"), Row(middle, 3, "b"), Row(last, 1, "c")], 0.5) == {0: 1, 2: 1}


def test_the_best_of_each_task_and_domain() -> None:
    rows = [Row("x", score, str(score)) for score in (1, 5, 3, 4, 2)]
    rows += [Row("x", 1, "t", task="title"), Row("x", 1, "d", domain="marketing")]
    assert not_best(rows, 1.0, None) == set()
    assert not_best(rows, 0.4, None) == {0, 2, 4}
    assert not_best(rows, 1.0, 1) == {0, 2, 3, 4}
    assert not_best(rows, 0.01, None) == {0, 2, 3, 4}  # at least one
