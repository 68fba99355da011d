"""The measures, on texts whose figures can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluate.degeneration import (
    first_words,
    known_words,
    quotes_that_close,
    repeated_ngrams,
    sentences_that_end,
)
from training.test_model.ngram import KneserNey


def test_first_words_keep_the_text_as_it_is() -> None:
    assert first_words("“One,” two\n\nthree four", 3) == "“One,” two\n\nthree"
    assert first_words("one two", 3) == "one two"


def test_known_words() -> None:
    assert known_words("The lamp glorped. The!", {"the", "lamp"}) == (3, 4)
    assert known_words("", {"the"}) == (0, 0)


@pytest.mark.parametrize(
    ("text", "cut", "ended", "all_of_them"),
    [
        ("He came. She saw. They", False, 2, 3),
        ("He came. She saw. They", True, 2, 2),
        ("He came. She saw. They left.", True, 2, 2),
        ("“Is it?” he asked. “It is…”", False, 2, 2),
        ("He turned—\n\nand left.", False, 2, 2),
        ("He said:\n\n“Go!”\n\n* * *\n\nII", False, 2, 3),
        ("nothing ends\n\nhere", False, 0, 2),
        ("", True, 0, 0),
    ],
)
def test_sentences_that_end(text: str, cut: bool, ended: int, all_of_them: int) -> None:
    assert sentences_that_end(text, cut=cut) == (ended, all_of_them)


@pytest.mark.parametrize(
    ("text", "cut", "closed", "opened"),
    [
        ("“Yes,” he said. “No.”", False, 2, 2),
        ("“Yes, he said.\n\n“No.”", False, 1, 2),
        ("“Yes “no” he said.", False, 1, 2),
        ("Closed” but not opened.", False, 0, 0),
        ("“One.”\n\n“Two", True, 1, 1),
        ("", True, 0, 0),
    ],
)
def test_quotes_that_close(text: str, cut: bool, closed: int, opened: int) -> None:
    assert quotes_that_close(text, cut=cut) == (closed, opened)


def test_repeated_ngrams() -> None:
    assert repeated_ngrams("a b c d A B C D") == (1, 5)
    assert repeated_ngrams("a a a a a a") == (2, 3)
    assert repeated_ngrams("a b c") == (0, 0)


def test_probabilities_of_the_ngram_model_sum_to_one() -> None:
    rng = np.random.default_rng(1)
    texts = [rng.integers(2, 9, size=40).tolist() for _ in range(20)]
    model = KneserNey(texts, vocabulary=9, start=0, order=3)
    for context in ([], [2], [5, 7], [8, 8, 8]):
        total = sum(float(model.probabilities([*context, token])[-1]) for token in range(9))
        assert total == pytest.approx(1.0)


def test_the_ngram_model_by_hand() -> None:
    """Bigrams of "a b a b" and "a c" (a=1, b=2, c=3, 4 tokens in all): each step of the formula, worked out."""
    model = KneserNey([[1, 2, 1, 2], [1, 3]], vocabulary=4, start=0, order=2)
    # Continuation counts: a follows start and b, so 2; b follows a, c follows a: 1 each. Two of three types have count 1,
    # one has 2: D1 = 2 / (2 + 2) = 1/2.
    p_b = (1 - 0.5) / 4 + 0.5 * 3 / 4 * 0.25
    # Bigram counts: start a 2, a b 2, b a 1, a c 1: D2 = 2 / (2 + 4) = 1/3; a was followed 3 times, by 2 types.
    d = 1 / 3
    assert model.probabilities([1, 2])[1] == pytest.approx((2 - d) / 3 + d * 2 / 3 * p_b)
    # c was never followed by anything: the lower order alone.
    assert model.probabilities([3, 2])[1] == pytest.approx(p_b)


def test_the_ngram_model_prefers_what_it_read() -> None:
    texts = [[2, 3, 4, 5] * 10, [5, 4, 3, 2] * 10]
    model = KneserNey(texts, vocabulary=9, start=0)
    known, unknown = model.probabilities([2, 3, 4, 5, 2, 3]), model.probabilities([2, 7, 3, 3, 6, 6])
    assert np.log(known).sum() > np.log(unknown).sum() + 5
    assert math.isfinite(np.log(unknown).sum())


def test_large_vocabularies_do_not_overflow() -> None:
    texts = [[200_000, 199_999, 200_001, 200_000, 199_999, 200_001] * 3]
    model = KneserNey(texts, vocabulary=200_002, start=0)
    assert (model.probabilities(texts[0]) > 0).all()
    assert (model.probabilities(texts[0]) <= 1).all()
