"""Measures against examples worked out by hand."""

from __future__ import annotations

import gzip
import math

import pytest

from training.evaluate.repetition import compression, distinct, diversity, measures, moving_types, repeated, self_bleu

WORDS = ["a", "b", "a", "b", "a", "c"]


def test_repeated_ngrams() -> None:
    # pairs: ab ba ab ba ac: 3 distinct of 5; threes: aba bab aba bac: 3 of 4; fours: abab baba abac: all distinct
    assert repeated(WORDS, 2) == pytest.approx(1 - 3 / 5)
    assert repeated(WORDS, 3) == pytest.approx(1 - 3 / 4)
    assert repeated(WORDS, 4) == 0
    assert diversity(WORDS) == pytest.approx(3 / 5 * 3 / 4)
    assert repeated(["a"], 2) == 0


def test_distinct_is_of_all_texts_together() -> None:
    assert distinct([["a", "b", "c"], ["a", "b", "d"]], 2) == pytest.approx(3 / 4)
    assert distinct([], 2) == 0


def test_moving_types() -> None:
    # windows of 3: aba bab aba bac: 2, 2, 2, 3 types
    assert moving_types(WORDS, 3) == pytest.approx((2 + 2 + 2 + 3) / 4 / 3)
    assert moving_types(WORDS, 500) == pytest.approx(3 / 6)
    assert moving_types([], 500) == 0


def test_compression() -> None:
    text = "the lamp was lit " * 200
    assert compression(text) == pytest.approx(len(text) / len(gzip.compress(text.encode(), 9, mtime=0)))
    assert compression(text) > 30


def test_self_bleu_of_the_same_text_is_one_and_of_strangers_little() -> None:
    same = ["one", "two", "three", "four", "five"]
    assert self_bleu([same, same]) == pytest.approx(1)
    # of one word in common of five: p1 = 1/5, and each further one 1 / (n-grams + 1), since 1 is added to both counts
    other = ["one", "six", "seven", "eight", "nine"]
    expected = math.exp((math.log(1 / 5) + math.log(1 / 5) + math.log(1 / 4) + math.log(1 / 3)) / 4)
    assert self_bleu([same, other]) == pytest.approx(expected)
    assert self_bleu([same]) == 0


def test_a_story_is_cut_before_it_is_measured() -> None:
    text = "The lamp was lit. " * 50
    assert measures(text, 4)["repeated_4"] == 0
    assert measures(text, 200)["repeated_4"] == pytest.approx(1 - 4 / 197)
