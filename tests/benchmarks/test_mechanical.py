"""The rules of `make miniature-dpo`: what each counts, and that a violation changes little of a text."""

from __future__ import annotations

import random

import pytest

from benchmarks.mechanical import RULES, Rule
from training.constitution.edits import changed_share

BY_KEY = {rule.key: rule for rule in RULES}
GOOD = (
    "The old man was at the door when the boy came up the path. He looked at the basket, and he took the bread out of it.\n\n"
    "“There is no more,” said the boy. “They gave me what they had.”\n\n"
    "The rain had stopped, and a cold wind came down from the hill. It was dark in the house. He sat down at the table by the small "
    "window and began to eat. The boy stood behind the chair, his hands in his sleeves. There was a lamp on the shelf, but nobody lit it. "
    "The dog went to the hearth and lay down in the ashes, his nose between his paws.\n\n"
    "“You will stay here,” said the man. “The road was never safe after dark.”\n\n"
    "He thought of the bridge. The water was high under it, as it was in the year of the great flood, when the mill went down the river "
    "with the miller in it. A woman saw it from the bank. She told nobody for a long time. The boy said nothing and looked at the floor."
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.key)
def test_each_violation_changes_little(rule: Rule) -> None:
    assert rule.count(GOOD) == 0
    made = {rule.violation(GOOD, random.Random(seed)) for seed in range(20)}
    assert None not in made
    for bad in made:
        assert bad is not None
        assert rule.count(bad) > 0
        assert 0 < changed_share(GOOD, bad) < 0.12
    assert rule.violation(GOOD, random.Random(3)) == rule.violation(GOOD, random.Random(3))


@pytest.mark.parametrize(
    ("key", "text", "count"),
    [
        ("past-tense", "He was old. He says so. “She is here,” he said. They are gone.", 2),
        ("short-paragraphs", "word " * 150 + "\n\n" + "word " * 151, 1),
        ("speech-in-quotes", "I will not, said he.\n\nHe said that he would.\n\n“No,” said he.", 1),
        ("speech-in-quotes", "“No, he said.\n\nHe went.", 1),
        ("speech-in-quotes", "No,” he said.\n\n“It goes on\n\n“and on.”", 1),
        ("no-exclamations", "“Oh!” He went! Away.", 2),
        ("plain-tags", "“No,” he cried. “Yes,” murmured Anna. “So,” she said. He cried.", 2),
        ("no-intensifiers", "Very old, quite new, the every day.", 2),
        ("no-and-first", "And he went. Andrew came. “But no.” He left and came.", 2),
        ("short-sentences", "a " * 39 + "b. " + "A " + "a " * 40 + "b.", 1),
        ("no-dashes", "He—no—went; away.", 2),
        ("no-semicolons", "He went; away.", 1),
    ],
)
def test_what_each_counts(key: str, text: str, count: int) -> None:
    assert BY_KEY[key].count(text) == count


def test_a_text_with_a_violation_is_refused() -> None:
    assert BY_KEY["no-dashes"].violation("He went—and she, he said, came.", random.Random(1)) is None


def test_ten_principles() -> None:
    assert len(BY_KEY) == len(RULES) == 10
