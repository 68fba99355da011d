"""Metrics of degenerate text. They do not tell whether a story is good.

Each is a share of something countable, so that a model can be compared with human text of the same length.
"""

from __future__ import annotations

from collections.abc import Collection

import regex

from training.common.text import WORD, paragraphs

_BOUNDARY = regex.compile(r"(?<=[.!?…][”’\"')\]]*)\s+(?=[“‘\"'(\[]*[\p{Lu}\p{N}])")
_ENDED = regex.compile(r"[.!?…—:][”’\"')\]]*$")


def words_of(text: str) -> list[str]:
    return [match.group().lower() for match in WORD.finditer(text)]


def first_words(text: str, count: int) -> str:
    """The text up to the end of its word number `count`."""
    for number, match in enumerate(WORD.finditer(text), start=1):
        if number == count:
            return text[: match.end()]
    return text


def known_words(text: str, vocabulary: Collection[str]) -> tuple[int, int]:
    """The numbers of words in `vocabulary` (lower case), and of all words."""
    words = words_of(text)
    return sum(word in vocabulary for word in words), len(words)


def sentences_that_end(text: str, *, cut: bool) -> tuple[int, int]:
    """Sentences that close with a mark (. ! ? …, or a dash or colon at a paragraph's end) before their paragraph is over.

    If the text was cut at a number of words, its last sentence is not counted. Headings and scene breaks have no words to
    end or are counted as what they are: sentences without an end, in human text as well.

    >>> sentences_that_end("He came. She saw\\n\\n“Well?”", cut=False)
    (2, 3)
    """
    sentences = [part for block in paragraphs(text) for part in _BOUNDARY.split(block.strip()) if WORD.search(part)]
    if cut:
        sentences = sentences[:-1]
    return sum(bool(_ENDED.search(sentence)) for sentence in sentences), len(sentences)


def quotes_that_close(text: str, *, cut: bool) -> tuple[int, int]:
    """Opened double quotes (“) that are closed (”) in their paragraph, before another is opened.

    A speech that continues in the next paragraph is left open by convention, in human text as well. If the text was cut, the
    quotes of its last paragraph are not counted.

    >>> quotes_that_close("“Well,” he said, “then go.\\n\\n“Now.”", cut=False)
    (2, 3)
    """
    opened = closed = 0
    for block in paragraphs(text)[: -1 if cut else None]:
        is_open = False
        for mark in regex.findall("[“”]", block):
            opened += mark == "“"
            closed += mark == "”" and is_open
            is_open = mark == "“"
    return closed, opened


def repeated_ngrams(text: str, size: int = 4) -> tuple[int, int]:
    """The numbers of repeated word n-grams (lower case), and of all n-grams.

    >>> repeated_ngrams("to be or not to be or not")
    (1, 5)
    """
    words = words_of(text)
    ngrams = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    return len(ngrams) - len(set(ngrams)), len(ngrams)
