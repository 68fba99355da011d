"""The checks that a row must pass. Rejected rows are counted by reason:

short            the text is too short for a request to be found for it
long             the task needs the whole text, and the text is longer than the settings allow
no_answer        the teacher gave no answer, or none of the shape that was asked for
empty            the answer has no words, or a list has the same entry twice
language         the teacher wrote in another language than the text's
length           what it wrote is too long or too short for the task, or a request for a new text states a length itself
copy             what it wrote is the text, or repeats whole sentences of it where it must not
unrelated        what it wrote has little to do with the text
leak             the request and its answer share LEAK_WORDS consecutive words
case             the answer and a worked case share CASE_WORDS consecutive words
source           a plan, or a request with no text attached, refers to an existing text
quote            a quoted passage does not occur in the text
plan             the plan, asked for twice, shares PLAN_WORDS consecutive words with the story, is too short, or has tags in it
low_score        a score is below `min_score`
reveals_ending   the judge finds that the request reveals how the story ends
near_duplicate   a better row of the task has nearly the same instruction
not_best         other rows of the task and domain have better scores
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import regex

from training.common.lengths import requested_words
from training.common.tasks import WritingTask
from training.common.text import WORD, count_words
from training.constitution import checks as violation_checks
from training.constitution.edits import changed_share
from training.corpus.profile import STOP_WORDS
from training.corpus.shingles import normalised
from training.datasets.rejected import Rejected
from training.instruct.answers import Request, RequestWithItems, RequestWithQuotedOutput, TaskAnswer
from training.instruct.cases import cases_of

LEAK_WORDS, CASE_WORDS, PLAN_WORDS = 12, 12, 8
MIN_PLAN_WORDS = 40


class Reason(StrEnum):
    SHORT = "short"
    LONG = "long"
    NO_ANSWER = "no_answer"
    EMPTY = "empty"
    LANGUAGE = "language"
    LENGTH = "length"
    COPY = "copy"
    UNRELATED = "unrelated"
    LEAK = "leak"
    CASE = "case"
    SOURCE = "source"
    QUOTE = "quote"
    PLAN = "plan"
    LOW_SCORE = "low_score"
    REVEALS_ENDING = "reveals_ending"
    NEAR_DUPLICATE = "near_duplicate"
    NOT_BEST = "not_best"


_SOURCE = regex.compile(
    r"\b(?:the|this) (?:original|given|provided|attached|source|finished|reference) (?:story|text|passage|piece|version)\b"
    r"|\b(?:story|text|passage|piece) (?:above|below|provided|attached)\b",
    regex.IGNORECASE,
)
_OWN_LENGTH = regex.compile(r"(?:\d|hundred|thousand)[\s-]*(?:words?\b|字|Wörter|mots\b|palabras\b)", regex.IGNORECASE)
_SMALL = 20
"""Words, below which a number that is spelt out may be of a detail: a telegram of nine words."""
_TAG = regex.compile(r"</?(?:think|answer)\b", regex.IGNORECASE)


def check_answer(task: WritingTask, text: str, answer: TaskAnswer) -> None:
    """Check a request, and what was written with it, against the bounds of the task. Raises Rejected."""
    output = text if task.human else answer.written
    _check_not_empty(task, answer)
    for written in (answer.instruction, answer.written):
        _check_language(text, written)
    if not isinstance(answer, Request):
        _check_bounds(task, text, answer.written)
    if share_ngram(answer.instruction, output, LEAK_WORDS):
        raise Rejected(Reason.LEAK, f"the request repeats {LEAK_WORDS} consecutive words of its answer")
    if ngrams(f"{answer.instruction}\n\n{answer.written}", CASE_WORDS) & _ngrams_of_cases(task.key):
        raise Rejected(Reason.CASE, "the answer repeats words of a worked case")
    text_given = task.attached or (task.human and answer.written)
    if not text_given and (found := _SOURCE.search(answer.instruction)):
        raise Rejected(Reason.SOURCE, f"the request refers to a text that is not attached: “{found[0]}”")
    if task.composes and (found := _OWN_LENGTH.search(answer.instruction)):
        raise Rejected(Reason.LENGTH, f"the request states a length itself: “{found[0]}”")
    if task.composes and (words := requested_words(answer.instruction) or 0) >= _SMALL:
        raise Rejected(Reason.LENGTH, f"the request states a length itself: {words:,} words")
    if isinstance(answer, RequestWithQuotedOutput):
        for quote in answer.quotes:
            if not (_contains(text, quote) and _contains(answer.output, quote)):
                raise Rejected(Reason.QUOTE, f"“{quote[:60]}” does not occur in the text, or not in the answer")


def check_plan(text: str, plan: str) -> None:
    """Check that a plan does not reveal the story that it leads to. Raises Rejected."""
    if count_words(plan) < MIN_PLAN_WORDS:
        raise Rejected(Reason.PLAN, f"the plan has only {count_words(plan)} words")
    if share_ngram(plan, text, PLAN_WORDS):
        raise Rejected(Reason.PLAN, f"the plan repeats {PLAN_WORDS} consecutive words of the story")
    if found := _TAG.search(plan) or _TAG.search(text) or _SOURCE.search(plan):
        raise Rejected(Reason.PLAN, f"the plan or the story contains “{found[0]}”")
    _check_language(text, plan)


def _check_not_empty(task: WritingTask, answer: TaskAnswer) -> None:
    if count_words(answer.instruction) < 3:
        raise Rejected(Reason.EMPTY, "the request is empty")
    if isinstance(answer, RequestWithItems):
        plain = [normalised(item) for item in answer.items]
        if not all(plain) or len(set(plain)) < len(plain):
            raise Rejected(Reason.EMPTY, "an entry of the list is empty or repeated")
        if longest := [item for item in answer.items if count_words(item) > task.max_item_words]:
            raise Rejected(Reason.LENGTH, f"an entry has more than {task.max_item_words} words: “{longest[0][:60]}”")


def _check_bounds(task: WritingTask, text: str, written: str) -> None:
    """Compare what was written with the text, by the bounds of the task. Raises Rejected."""
    if not count_words(written):
        raise Rejected(Reason.EMPTY, "the answer has no words")
    low, high = task.length_ratio
    ratio = count_words(written) / max(1, count_words(text))
    if not low <= ratio <= high:
        raise Rejected(Reason.LENGTH, f"it has {ratio:.2f} times the words of the text")
    low, high = task.changed_share
    changed = changed_share(text, written) if task.changed_share != (0.0, 1.0) else low
    if changed < low or normalised(text) == normalised(written):
        raise Rejected(Reason.COPY, f"only {changed:.0%} of its words differ from the text's")
    if changed > high:
        raise Rejected(Reason.UNRELATED, f"{changed:.0%} of its words differ from the text's")
    if not task.may_quote and share_ngram(written, text, LEAK_WORDS):
        raise Rejected(Reason.COPY, f"it repeats {LEAK_WORDS} consecutive words of the text")
    if task.min_common_share and (share := common_share(text, written)) < task.min_common_share:
        raise Rejected(Reason.UNRELATED, f"it has only {share:.0%} of the rarer words in common with the text")


def _check_language(text: str, written: str) -> None:
    """Check both directions: no foreign words for an English text, no English ones for another. Raises Rejected."""
    try:
        violation_checks.check_language(text, written)
        if count_words(written) >= violation_checks.MIN_LANGUAGE_WORDS:
            violation_checks.check_language(written, text)
    except Rejected:
        raise Rejected(Reason.LANGUAGE, f"it is in another language: “{written[:60]}”") from None


def ngrams(text: str, size: int) -> set[tuple[str, ...]]:
    """Runs of `size` consecutive words, without regard to case, punctuation and accents."""
    words = normalised(text).split()
    return set(zip(*(words[start:] for start in range(size))))


def share_ngram(one: str, other: str, size: int) -> bool:
    """Whether two texts share a run of `size` consecutive words."""
    return bool(ngrams(one, size) & ngrams(other, size))


def common_share(one: str, other: str) -> float:
    """The share of words in common, from 0 to 1: of the text with fewer distinct words, stop words left out.

    >>> common_share("The ferryman and the sheep", "Nine sheep followed the ferryman home.")
    1.0
    """
    first, second = _rare_words(one), _rare_words(other)
    return len(first & second) / max(1, min(len(first), len(second)))


def _rare_words(text: str) -> set[str]:
    return {word for word in WORD.findall(text.lower().replace("'", "’")) if word not in STOP_WORDS}


def _contains(text: str, quote: str) -> bool:
    """Whether the words of the quote occur in the text, whatever the punctuation. No text contains a quote without words."""
    return f" {normalised(quote)} " in f" {normalised(text)} "


@cache
def _ngrams_of_cases(task: str) -> frozenset[tuple[str, ...]]:
    shown = [f"{case.source.text}\n\n{case.answer.instruction}\n\n{case.answer.written}" for case in cases_of(task)]
    return frozenset().union(*(ngrams(text, CASE_WORDS) for text in shown))
