from __future__ import annotations

from enum import StrEnum

import pytest

from training.common.records import Example, Principle
from training.constitution.checks import Drop, little, no_copy, same_language
from training.datasets.rejected import Dropped

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
    except Dropped as dropped:
        return dropped.reason
    return None


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (GOOD, Drop.UNCHANGED),
        (GOOD.replace("lit at", "lit  at"), Drop.UNCHANGED),
        (GOOD.replace(".\n\nIn", ". In"), None),  # a paragraph that was joined is a change
        (GOOD.replace("lit", "extinguished"), None),
        (GOOD.replace("six,", "six, most remarkably and to everybody’s great astonishment,"), Drop.LENGTH),
        (
            "Quite another text, with other words in it, about a ship at sea, a captain and two sailors of his.",
            Drop.CHANGED_MUCH,
        ),
        (GOOD[:60], Drop.CHANGED_MUCH),
    ],
)
def test_changed_and_little(bad: str, found: Drop | None) -> None:
    assert reason(little, GOOD, bad, most_changed=0.4, most_length=1.3) == found


@pytest.mark.parametrize(
    ("added", "found"),
    [
        ("and the lamp was never lit again in that house, for nobody came up", None),
        ("und die Lampe wurde nie wieder angezündet in diesem Haus, denn niemand kam herauf", Drop.LANGUAGE),
        ("и лампу больше не зажигали", Drop.LANGUAGE),
        ("灯再也没有点亮过", Drop.LANGUAGE),
        ("Merci", None),  # a word may be foreign
    ],
)
def test_the_language_stays(added: str, found: Drop | None) -> None:
    assert reason(same_language, GOOD, added) == found


def test_words_of_the_examples() -> None:
    assert reason(no_copy, "deposited the farinaceous comestible upon the table and made his", RULE) == Drop.COPY
    assert reason(no_copy, "deposited the farinaceous comestible on a shelf", RULE) is None
