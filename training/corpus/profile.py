"""Counts of a text, computed once for the rules and the learned filter."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cached_property

import numpy as np

from training.common.text import SCENE_BREAK, count_words, paragraphs
from training.corpus.shingles import TOKEN, Hashes, joined, normalised, run_hashes, word_hashes

REPEATED = 8
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_END = re.compile(r"[.!?…:;—。！？：；”’\"'»」』）)\]*]$")
_STOP_WORDS = """
the of and to a in that it is was i he for as with his on be at by had not but from have you which are this all him
they her were she or an we one there been their who will so my would if no what when them me out up said into more
then could your do some than its only our very can has did now any about over man these like little down such upon
other before how much time made after well must where come see came went never here should himself back know great
through go just even those still might us too way again don’t it’s i’m didn’t couldn’t wasn’t that’s am shall may
nothing between under until without because while off though nor every
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


class Profile:
    """A cleaned text with its counts, each of which is computed when it is first used."""

    def __init__(self, text: str, language: str = "en", marked_as: str = "") -> None:
        self.text = text
        self.language = language
        self.marked_as = marked_as

    @property
    def english(self) -> bool:
        return self.language.split("-")[0] == "en"

    @cached_property
    def simple(self) -> bool:
        """Whether there is no Chinese or Japanese and no combining mark. Then TOKEN finds the words that `count_words` counts, but faster."""
        return not any(
            character >= "\u0300" and (unicodedata.category(character)[0] == "M" or character >= "\u2e80")
            for character in set(self.text)
        )

    @cached_property
    def words(self) -> int:
        return len(self.written) if self.simple else count_words(self.text)

    @cached_property
    def paragraphs(self) -> list[str]:
        """The paragraphs without scene breaks and headings."""
        return [block for block in paragraphs(self.text) if block != SCENE_BREAK and not block.startswith("## ")]

    @cached_property
    def lines(self) -> list[str]:
        return [line for paragraph in self.paragraphs for line in paragraph.split("\n")]

    @cached_property
    def written(self) -> list[str]:
        """The words as written. A Chinese sentence is one of them, so this is meant for languages with spaces only."""
        return TOKEN.findall(self.text)

    @cached_property
    def forms(self) -> Counter[str]:
        """The number of occurrences of each written form."""
        return Counter(self.written)

    @cached_property
    def counts(self) -> Counter[str]:
        """The number of occurrences of each word in lower case."""
        counts: Counter[str] = Counter()
        for form, count in self.forms.items():
            counts[form.lower().replace("'", "’")] += count
        return counts

    @property
    def tokens(self) -> int:
        return len(self.written)

    @cached_property
    def plain(self) -> str:
        return joined(self.written) if self.simple else normalised(self.text)

    @cached_property
    def hashes(self) -> Hashes:
        return word_hashes(self.plain)

    @cached_property
    def visible(self) -> int:
        return max(1, len(self.text) - sum(map(self.text.count, " \n\u3000")))

    @cached_property
    def letters(self) -> int:
        return sum(map(len, self.written)) - self.digits

    @cached_property
    def digits(self) -> int:
        return sum(map(self.text.count, "0123456789"))

    @cached_property
    def capitals(self) -> int:
        return sum(map(self.text.count, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))

    @cached_property
    def han(self) -> float:
        """The share of Chinese characters among the letters, 0 to 1."""
        return 0.0 if self.simple else len(_HAN.findall(self.text)) / max(1, self.letters)

    @cached_property
    def kana(self) -> float:
        return 0.0 if self.simple else len(_KANA.findall(self.text)) / max(1, self.letters)

    @cached_property
    def stop_words(self) -> float:
        return sum(self.counts[word] for word in STOP_WORDS) / max(1, self.tokens)

    @cached_property
    def unfinished(self) -> float:
        """The share of paragraphs that end without punctuation, 0 to 1."""
        ends = [block for block in self.paragraphs if not _END.search(block)]
        return len(ends) / max(1, len(self.paragraphs))

    @cached_property
    def repeated(self) -> float:
        """The share of words (in Chinese, characters) in runs of REPEATED words that occur more than once, 0 to 1."""
        if len(self.hashes) < 2 * REPEATED:
            return 0.0
        runs = run_hashes(self.hashes, REPEATED)
        _, which, often = np.unique(runs, return_inverse=True, return_counts=True)
        begins = np.flatnonzero(often[which] > 1)
        covered = np.zeros(len(self.hashes), bool)
        for offset in range(REPEATED):
            covered[begins + offset] = True
        return float(covered.mean())


def language_tag(name: str) -> str:
    """Return the language tag that the corpus uses: "en" for any English, others unchanged.

    >>> language_tag("en-GB"), language_tag("zh-Hans")
    ('en', 'zh-Hans')
    """
    name = name.strip().replace("_", "-")
    return "en" if name.lower().split("-")[0] in ("en", "eng") else name[:20]


def guess_language(text: str) -> str:
    """Return "zh" or "ja" for a text in these scripts, otherwise "en", which a rule checks later."""
    sample = Profile(text[:20_000])
    if sample.kana > 0.1:
        return "ja"
    return "zh" if sample.han > 0.5 else "en"
