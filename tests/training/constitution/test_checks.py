from __future__ import annotations

from enum import StrEnum

import pytest

from training.common.records import Example, Principle
from training.constitution.checks import Reason, check_language, check_no_copy, check_size
from training.datasets.rejected import Rejected

GOOD = "The lamp was lit at six, and nobody came up the stairs that night.\n\nIn the morning the door stood open."
RULE = Principle(
    key="plain",
    name="Plain words",
    domains=("fiction",),
    tasks=("write",),
    explanation="Say it plainly.",
    examples=(
        Example(
            follows="He put the bread upon the table and then he went away.",
            follows_because="Plain.",
            breaks="He deposited the farinaceous comestible upon the table and made his melancholy exit.",
            breaks_because="Not plain.",
        ),
    ),
)


def reason(check: object, *args: object, **named: object) -> StrEnum | None:
    try:
        check(*args, **named)  # type: ignore[operator]
    except Rejected as rejected:
        return rejected.reason
    return None


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (GOOD, Reason.UNCHANGED),
        (GOOD.replace("lit at", "lit  at"), Reason.UNCHANGED),
        (GOOD.replace(".\n\nIn", ". In"), None),  # joining paragraphs is a change
        (GOOD.replace("lit", "extinguished"), None),
        (GOOD.replace("six,", "six, most remarkably and to everybody’s great astonishment,"), Reason.LENGTH),
        (
            "Quite another text, with other words in it, about a ship at sea, a captain and two sailors of his.",
            Reason.TOO_MUCH_CHANGED,
        ),
        (GOOD[:60], Reason.TOO_MUCH_CHANGED),
    ],
)
def test_the_change_must_be_small(bad: str, found: Reason | None) -> None:
    assert reason(check_size, GOOD, bad, max_changed_share=0.4, max_length_ratio=1.3) == found


@pytest.mark.parametrize(
    ("added", "found"),
    [
        ("and the lamp was never lit again in that house, for nobody came up", None),
        ("und die Lampe wurde nie wieder angezündet in diesem Haus, denn niemand kam herauf", Reason.LANGUAGE),
        ("и лампу больше не зажигали", Reason.LANGUAGE),
        ("灯再也没有点亮过", Reason.LANGUAGE),
        ("Merci", None),  # a single word may be foreign
    ],
)
def test_inserted_words_must_be_in_the_language_of_the_text(added: str, found: Reason | None) -> None:
    assert reason(check_language, GOOD, added) == found


def test_words_of_the_examples_are_rejected() -> None:
    assert (
        reason(check_no_copy, "deposited the farinaceous comestible upon the table and made his", RULE) == Reason.COPY
    )
    assert reason(check_no_copy, "deposited the farinaceous comestible on a shelf", RULE) is None
