"""What a row must pass; each reason of a drop has a name that is counted.

short          the text is too short to tell a request from
long           the task needs the whole text, and it is longer than the settings allow
no_answer      the teacher gave none, or none of the shape that was asked for
empty          it has no words, or a list has the same entry twice
language       what the teacher wrote is in another language than the text
length         what it made is too long or too short for its task, or the request for a text says its own number of words
copy           what it made is the text, or holds whole sentences of it where it must not
unrelated      what it made has little to do with the text
leak           the request holds a run of LEAK words of its answer
case           the teacher gave a run of CASE words of its worked cases back
source         a request to which no text is attached, or a plan, speaks of a text that is there
quote          a review or an answer quotes words that do not stand in the text
plan           the plan holds a run of PLAN words of the story, is no plan, or has tags in it, also when it was asked for once more
low_score      the judgement is under the least score
gives_away     the judge finds that the request tells how the story ends
alike          a better row of the task has nearly the same instruction
not_best       others of the task and domain have better scores
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import regex

from training.common.records import Task
from training.common.text import WORD, count_words
from training.constitution import checks as of_violations
from training.constitution.edits import changed_share
from training.corpus.profile import STOP_WORDS
from training.corpus.shingles import normalised
from training.datasets.rejected import Dropped
from training.instruct.answers import Found, Listing, Quoting, Request
from training.instruct.cases import cases_of
from training.instruct.tasks import Way

LEAK, CASE, PLAN = 12, 12, 8
LEAST_PLAN = 40
"""Words."""


class Drop(StrEnum):
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
    GIVES_AWAY = "gives_away"
    ALIKE = "alike"
    NOT_BEST = "not_best"


_SOURCE = regex.compile(
    r"\b(?:the|this) (?:original|given|provided|attached|source|finished|reference) (?:story|text|passage|piece|version)\b"
    r"|\b(?:story|text|passage|piece) (?:above|below|provided|attached)\b",
    regex.IGNORECASE,
)
_OWN_LENGTH = regex.compile(r"(?:\d|hundred|thousand)[\s-]*(?:words?\b|字|Wörter|mots\b|palabras\b)", regex.IGNORECASE)
_TAG = regex.compile(r"</?(?:think|answer)\b", regex.IGNORECASE)


def found_well(way: Way, text: str, answer: Found) -> None:
    """Raises Dropped where the request, or what was made with it, is not fit for its task."""
    output = text if way.human else answer.made
    _says_something(way, answer)
    for written in (answer.instruction, answer.made):
        _same_language(text, written)
    if not isinstance(answer, Request):
        _fits(way, text, answer.made)
    if has_run(answer.instruction, output, LEAK):
        raise Dropped(Drop.LEAK, f"the request holds {LEAK} words in a row of its answer")
    if runs(f"{answer.instruction}\n\n{answer.made}", CASE) & _runs_of_cases(way.task):
        raise Dropped(Drop.CASE, "the teacher gave words of a worked case back")
    given = way.shown or (way.human and answer.made)
    if not given and (said := _SOURCE.search(answer.instruction)):
        raise Dropped(Drop.SOURCE, f"the request speaks of a text that is not there: “{said[0]}”")
    if way.task == "write" and (said := _OWN_LENGTH.search(answer.instruction)):
        raise Dropped(Drop.LENGTH, f"the request says a length of its own: “{said[0]}”")
    if isinstance(answer, Quoting):
        for quote in answer.quotes:
            if not (_stands_in(quote, text) and _stands_in(quote, answer.output)):
                raise Dropped(Drop.QUOTE, f"“{quote[:60]}” does not stand in the text, or not in the answer")


def plans_well(text: str, plan: str) -> None:
    """Raises Dropped where a plan shows the story that it is to lead to."""
    if count_words(plan) < LEAST_PLAN:
        raise Dropped(Drop.PLAN, f"a plan of {count_words(plan)} words is none")
    if has_run(plan, text, PLAN):
        raise Dropped(Drop.PLAN, f"the plan holds {PLAN} words in a row of the story")
    if said := _TAG.search(plan) or _TAG.search(text) or _SOURCE.search(plan):
        raise Dropped(Drop.PLAN, f"the plan or the story holds “{said[0]}”")
    _same_language(text, plan)


def _says_something(way: Way, answer: Found) -> None:
    if count_words(answer.instruction) < 3:
        raise Dropped(Drop.EMPTY, "there is no request")
    if isinstance(answer, Listing):
        plain = [normalised(item) for item in answer.items]
        if not all(plain) or len(set(plain)) < len(plain):
            raise Dropped(Drop.EMPTY, "an entry is empty, or there twice")
        if longest := [item for item in answer.items if count_words(item) > way.item]:
            raise Dropped(Drop.LENGTH, f"an entry has more than {way.item} words: “{longest[0][:60]}”")


def _fits(way: Way, text: str, made: str) -> None:
    """What was made has the bounds of its task against the text. Raises Dropped."""
    if not count_words(made):
        raise Dropped(Drop.EMPTY, "there are no words in what was made")
    least, most = way.length
    times = count_words(made) / max(1, count_words(text))
    if not least <= times <= most:
        raise Dropped(Drop.LENGTH, f"what was made has {times:.2f} times the words of the text")
    least, most = way.changed
    changed = changed_share(text, made) if way.changed != (0.0, 1.0) else least
    if changed < least or normalised(text) == normalised(made):
        raise Dropped(Drop.COPY, f"only {changed:.0%} of the words differ from the text's")
    if changed > most:
        raise Dropped(Drop.UNRELATED, f"{changed:.0%} of the words differ from the text's")
    if not way.quotes and has_run(made, text, LEAK):
        raise Dropped(Drop.COPY, f"what was made holds {LEAK} words in a row of the text")
    if way.common and (share := common_share(text, made)) < way.common:
        raise Dropped(Drop.UNRELATED, f"only {share:.0%} of its rarer words are those of the text")


def _same_language(text: str, written: str) -> None:
    """Raises Dropped where an English text got words in another language, or another text got English ones."""
    try:
        of_violations.same_language(text, written)
        if count_words(written) >= of_violations.ENOUGH:
            of_violations.same_language(written, text)
    except Dropped:
        raise Dropped(Drop.LANGUAGE, f"it is in another language: “{written[:60]}”") from None


def runs(text: str, size: int) -> set[tuple[str, ...]]:
    """Of words in a row, whatever their capitals, signs and accents."""
    words = normalised(text).split()
    return set(zip(*(words[start:] for start in range(size))))


def has_run(one: str, other: str, size: int) -> bool:
    return bool(runs(one, size) & runs(other, size))


def common_share(one: str, other: str) -> float:
    """Of the words of the one with the fewer, frequent words left out, the share that the other has, too.

    >>> common_share("The ferryman and the sheep", "Nine sheep followed the ferryman home.")
    1.0
    """
    first, second = _rarer(one), _rarer(other)
    return len(first & second) / max(1, min(len(first), len(second)))


def _rarer(text: str) -> set[str]:
    return {word for word in WORD.findall(text.lower().replace("'", "’")) if word not in STOP_WORDS}


def _stands_in(quote: str, text: str) -> bool:
    """Whatever its signs; one without words stands in no text."""
    return f" {normalised(quote)} " in f" {normalised(text)} "


@cache
def _runs_of_cases(task: Task) -> frozenset[tuple[str, ...]]:
    shown = [f"{case.source.text}\n\n{case.answer.instruction}\n\n{case.answer.made}" for case in cases_of(task)]
    return frozenset().union(*(runs(text, CASE) for text in shown))
