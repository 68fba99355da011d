"""What a violation must pass before anybody sees it; each reason of a drop has a name that is counted.

no_principle      none is for such a text, or it follows none so that it shows
no_answer         the teacher gave none, or none of the shape that was asked for
not_there         its edits are not about this text
unchanged         nothing was changed but blanks
changed_much      more than the stated share of the words was changed
length            it is much longer or shorter
language          what was put in is in another language
copy              what was put in stands in the principle's own examples, or in another violation
not_broken        the second judge, who does not know which is which, does not find the principle broken
broken_before     the judge finds it broken in the good text, too
broke_another     the judge finds another principle broken that the good text keeps
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import regex

from training.common.records import Principle
from training.common.text import WORD, count_words
from training.constitution.edits import changed_share
from training.corpus.profile import STOP_WORDS
from training.datasets.rejected import Dropped


class Drop(StrEnum):
    NO_PRINCIPLE = "no_principle"
    NO_ANSWER = "no_answer"
    NOT_THERE = "not_there"
    UNCHANGED = "unchanged"
    CHANGED_MUCH = "changed_much"
    LENGTH = "length"
    LANGUAGE = "language"
    COPY = "copy"
    NOT_BROKEN = "not_broken"
    BROKEN_BEFORE = "broken_before"
    BROKE_ANOTHER = "broke_another"


SCRIPTS = {
    name: regex.compile(rf"\p{{Script={name}}}")
    for name in ("Latin", "Han", "Hiragana", "Cyrillic", "Greek", "Arabic", "Hebrew")
}
ENOUGH = 12
"""Words from which on one can say in which language they are."""
RUN = 8
"""Words in a row that are no chance."""


def little(good: str, bad: str, *, most_changed: float, most_length: float) -> None:
    """It changed something, and little. Raises Dropped."""
    if good.split() == bad.split() and good.count("\n\n") == bad.count("\n\n"):
        raise Dropped(Drop.UNCHANGED, "nothing was changed")
    share = changed_share(good, bad)
    if share > most_changed:
        raise Dropped(Drop.CHANGED_MUCH, f"{share:.0%} of its words were changed; {most_changed:.0%} are the most")
    words, now = count_words(good), count_words(bad)
    if not 1 / most_length <= now / max(1, words) <= most_length:
        raise Dropped(Drop.LENGTH, f"it has {now:,} words, the good text {words:,}")


def same_language(good: str, added: str) -> None:
    """What was put in has the script of the text, and if the text is English, is English. Raises Dropped."""
    if (script := _script(added)) and script != _script(good):
        raise Dropped(Drop.LANGUAGE, f"what was put in is written in {script} letters")
    words = [word.lower() for word in WORD.findall(added)]
    if len(words) >= ENOUGH and _english(WORD.findall(good.lower())) > 0.25 and _english(words) < 0.15:
        raise Dropped(Drop.LANGUAGE, "what was put in is not English")


def no_copy(added: str, principle: Principle) -> None:
    """No run of words of the principle's examples. Raises Dropped."""
    runs = runs_of(added)
    if any(runs & runs_of(text) for one in principle.examples for text in (one.follows, one.breaks)):
        raise Dropped(Drop.COPY, "its words are those of an example")


def runs_of(text: str) -> set[tuple[str, ...]]:
    words = [word.lower() for word in WORD.findall(text)]
    return set(zip(*(words[start:] for start in range(RUN))))


def _script(text: str) -> str:
    counts = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > 3 else ""


def _english(words: Sequence[str]) -> float:
    return sum(word in STOP_WORDS for word in words) / max(1, len(words))
