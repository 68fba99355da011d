r"""Counters of words and tokens for the papers' formulas. Each formula names its counter; none is the product's (`training.common.text.count_words`).

POLARIS' patterns count a line of Chinese as one word, so a whole story has too few. Here each Chinese or Japanese character is a word of its
own in both counters; texts in other scripts are counted as the papers count them.
"""

from __future__ import annotations

import regex

from training.common.text import IDEOGRAPH

_OTHER = rf"[\w--[{IDEOGRAPH}]]"
_WORDS = regex.compile(rf"[{IDEOGRAPH}]|{_OTHER}+", regex.VERSION1)
_TOKENS = regex.compile(rf"[{IDEOGRAPH}]|{_OTHER}+|[^\w\s]", regex.VERSION1)
_LATIN = regex.compile(
    rf"[[\p{{L}}\p{{N}}]--[{IDEOGRAPH}]]+(?:['’-][[\p{{L}}\p{{N}}]--[{IDEOGRAPH}]]+)*", regex.VERSION1
)
_CHARACTER = regex.compile(rf"[{IDEOGRAPH}]")


def polaris_words(text: str) -> int:
    r"""Words by POLARIS' `\w+`: a contraction has two.

    >>> polaris_words("The lamp-lighter didn't wait."), polaris_words("孔乙己来了")
    (6, 5)
    """
    return len(_WORDS.findall(text))


def polaris_tokens(text: str) -> list[str]:
    r"""Words and single marks in lower case, by POLARIS' `\w+|[^\s]`.

    >>> polaris_tokens("“Well?” She left...")
    ['“', 'well', '?', '”', 'she', 'left', '.', '.', '.']
    """
    return _TOKENS.findall(text.lower())


def longwriter_words(text: str) -> int:
    """Chinese characters and words of other scripts, counted as in LongWriter's evaluation (arXiv 2408.07055).

    >>> longwriter_words("The lamp-lighter didn't wait."), longwriter_words("孔乙己 came")
    (4, 4)
    """
    return len(_CHARACTER.findall(text)) + len(_LATIN.findall(text))
