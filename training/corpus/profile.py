"""What is counted in a text once, for the rules and for the learned filter."""

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
    """A cleaned text with its counts; each is computed when it is first asked for."""

    def __init__(self, text: str, language: str = "en", marked_as: str = "") -> None:
        self.text = text
        self.language = language
        self.marked_as = marked_as

    @property
    def english(self) -> bool:
        return self.language.split("-")[0] == "en"

    @cached_property
    def simple(self) -> bool:
        """No Chinese or Japanese, no combining marks: then TOKEN finds the very words that `count_words` counts, but faster."""
        return not any(
            sign >= "\u0300" and (unicodedata.category(sign)[0] == "M" or sign >= "\u2e80") for sign in set(self.text)
        )

    @cached_property
    def words(self) -> int:
        return len(self.written) if self.simple else count_words(self.text)

    @cached_property
    def paragraphs(self) -> list[str]:
        """Without scene breaks and headings."""
        return [said for said in paragraphs(self.text) if said != SCENE_BREAK and not said.startswith("## ")]

    @cached_property
    def lines(self) -> list[str]:
        return [line for paragraph in self.paragraphs for line in paragraph.split("\n")]

    @cached_property
    def written(self) -> list[str]:
        """The words as they are written. A Chinese sentence counts as one: only languages with spaces are measured by this."""
        return TOKEN.findall(self.text)

    @cached_property
    def forms(self) -> Counter[str]:
        """How often each word is written so."""
        return Counter(self.written)

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each word occurs, in small letters."""
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
        """The share of Chinese signs among the letters."""
        return 0.0 if self.simple else len(_HAN.findall(self.text)) / max(1, self.letters)

    @cached_property
    def kana(self) -> float:
        return 0.0 if self.simple else len(_KANA.findall(self.text)) / max(1, self.letters)

    @cached_property
    def stop_words(self) -> float:
        return sum(self.counts[word] for word in STOP_WORDS) / max(1, self.tokens)

    @cached_property
    def unfinished(self) -> float:
        """The share of paragraphs that end without any punctuation."""
        ends = [said for said in self.paragraphs if not _END.search(said)]
        return len(ends) / max(1, len(self.paragraphs))

    @cached_property
    def repeated(self) -> float:
        """The share of all words (in Chinese: signs) that stand inside a run of REPEATED words that the text has more than once."""
        if len(self.hashes) < 2 * REPEATED:
            return 0.0
        runs = run_hashes(self.hashes, REPEATED)
        _, which, often = np.unique(runs, return_inverse=True, return_counts=True)
        begins = np.flatnonzero(often[which] > 1)
        covered = np.zeros(len(self.hashes), bool)
        for offset in range(REPEATED):
            covered[begins + offset] = True
        return float(covered.mean())


def language_tag(said: str) -> str:
    """A language as the corpus writes it: English without its country, others as they come.

    >>> language_tag("en-GB"), language_tag("zh-Hans")
    ('en', 'zh-Hans')
    """
    said = said.strip().replace("_", "-")
    return "en" if said.lower().split("-")[0] in ("en", "eng") else said[:20]


def guess_language(text: str) -> str:
    """A language for a text that comes without one: Chinese and Japanese by their signs, else English (which is checked)."""
    sample = Profile(text[:20_000])
    if sample.kana > 0.1:
        return "ja"
    return "zh" if sample.han > 0.5 else "en"
