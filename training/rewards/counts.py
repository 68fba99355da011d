r"""The words and tokens that the papers' formulas count. Each formula names its counter; none is the product's (`training.common.text.count_words`).

POLARIS' patterns see a line of Chinese as one word, and a whole story as a blank one. Here each Chinese or Japanese character is a word of its
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
    r"""POLARIS' `\w+`: a contraction has two.

    >>> polaris_words("The lamp-lighter didn't wait."), polaris_words("孔乙己来了")
    (6, 5)
    """
    return len(_WORDS.findall(text))


def polaris_tokens(text: str) -> list[str]:
    r"""POLARIS' `\w+|[^\s]` in lower case: words and single marks.

    >>> polaris_tokens("“Well?” She left...")
    ['“', 'well', '?', '”', 'she', 'left', '.', '.', '.']
    """
    return _TOKENS.findall(text.lower())


def longwriter_words(text: str) -> int:
    """Chinese characters and words of other scripts, as LongWriter's evaluation counts (arXiv 2408.07055).

    >>> longwriter_words("The lamp-lighter didn't wait."), longwriter_words("孔乙己 came")
    (4, 4)
    """
    return len(_CHARACTER.findall(text)) + len(_LATIN.findall(text))
