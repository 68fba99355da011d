"""The checks that a violation must pass before anybody sees it. Rejected rows are counted by reason:

no_principle      no principle is for such a text, or the text does not clearly follow one
no_answer         the teacher gave no answer, or none of the shape that was asked for
invalid_edit      an edit cannot be applied to the text
unchanged         nothing but whitespace was changed
too_much_changed  the share of changed words is above `max_changed_share`
length            the changed text is much longer or shorter
language          the inserted words are in another language
copy              the inserted words are those of the principle's examples, or of another violation
not_broken        the second judge, who does not know which text is which, does not find the principle broken
broken_before     the judge finds it broken in the good text, too
broke_another     the judge finds another principle broken that the good text follows
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import regex

from training.common.records import Principle
from training.common.text import WORD, count_words
from training.constitution.edits import changed_share
from training.corpus.profile import STOP_WORDS
from training.datasets.rejected import Rejected


class Reason(StrEnum):
    NO_PRINCIPLE = "no_principle"
    NO_ANSWER = "no_answer"
    INVALID_EDIT = "invalid_edit"
    UNCHANGED = "unchanged"
    TOO_MUCH_CHANGED = "too_much_changed"
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
MIN_LANGUAGE_WORDS = 12
"""Words that are needed to tell a language."""
NGRAM = 8
"""Consecutive words that two texts do not share by chance."""


def check_size(good: str, bad: str, *, max_changed_share: float, max_length_ratio: float) -> None:
    """Check that something was changed, but not too much. Raises Rejected."""
    if good.split() == bad.split() and good.count("\n\n") == bad.count("\n\n"):
        raise Rejected(Reason.UNCHANGED, "nothing was changed")
    share = changed_share(good, bad)
    if share > max_changed_share:
        why = f"{share:.0%} of its words were changed; at most {max_changed_share:.0%} may be"
        raise Rejected(Reason.TOO_MUCH_CHANGED, why)
    before, after = count_words(good), count_words(bad)
    if not 1 / max_length_ratio <= after / max(1, before) <= max_length_ratio:
        raise Rejected(Reason.LENGTH, f"it has {after:,} words, the good text {before:,}")


def check_language(good: str, added: str) -> None:
    """Check that inserted words have the script of the text, and are English if the text is. Raises Rejected."""
    if (script := _script(added)) and script != _script(good):
        raise Rejected(Reason.LANGUAGE, f"the inserted words are in {script} script")
    words = [word.lower() for word in WORD.findall(added)]
    if len(words) >= MIN_LANGUAGE_WORDS and _english(WORD.findall(good.lower())) > 0.25 and _english(words) < 0.15:
        raise Rejected(Reason.LANGUAGE, "the inserted words are not English")


def check_no_copy(added: str, principle: Principle) -> None:
    """Check that inserted words share no n-gram with the principle's examples. Raises Rejected."""
    inserted = ngrams(added)
    if any(inserted & ngrams(text) for one in principle.examples for text in (one.follows, one.breaks)):
        raise Rejected(Reason.COPY, "its words are those of an example")


def ngrams(text: str) -> set[tuple[str, ...]]:
    """The runs of NGRAM consecutive words, in lower case."""
    words = [word.lower() for word in WORD.findall(text)]
    return set(zip(*(words[start:] for start in range(NGRAM))))


def _script(text: str) -> str:
    counts = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > 3 else ""


def _english(words: Sequence[str]) -> float:
    return sum(word in STOP_WORDS for word in words) / max(1, len(words))
