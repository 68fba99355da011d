"""Hashes of words and of runs of words, computed for a whole text at once."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from functools import cache

import numpy as np
import numpy.typing as npt
import regex

Hashes = npt.NDArray[np.uint64]

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_CJK = regex.compile(r"[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]")
TOKEN = re.compile(
    r"[^\W_]+(?:['’][^\W_]+)*"
)  # equals `training.common.text.WORD` for texts without Chinese, Japanese and combining characters


def mix(values: Hashes) -> Hashes:
    """Stafford's 64-bit mixer (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@cache
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """The powers of an odd number and their inverses, modulo 2**64, so that the hash of any substring is a difference of sums."""
    base = 0x5851F42D4C957F2D
    inverse = pow(base, -1, 2**64)
    return tuple(np.cumprod(np.full(size, np.uint64(x), np.uint64)) for x in (base, inverse))  # type: ignore[return-value]


def normalised(text: str) -> str:
    """The words of a text with one space between them, in lower case, without accents and markup; each Chinese character is a word."""
    return joined(TOKEN.findall(_CJK.sub(r" \g<0> ", text) if not text.isascii() else text))


def joined(words: Iterable[str]) -> str:
    """The normalised text of these words."""
    plain = " ".join(words).lower().replace("'", "")
    if plain.isascii():
        return plain
    plain = unicodedata.normalize("NFD", plain.replace("’", "").replace("ſ", "s"))
    return regex.sub(r"[\u0300-\u036f]+", "", plain)


def word_hashes(text: str) -> Hashes:
    """(words,): a 64-bit hash of each word of a normalised text, from cumulative sums over its characters."""
    if not text:
        return np.zeros(0, np.uint64)
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    powers, inverses = (table[: len(codes)] for table in _powers(1 << max(12, math.ceil(math.log2(len(codes) + 1)))))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((codes + np.uint64(1)) * powers)])
    spaces = np.flatnonzero(codes == 32)
    starts = np.concatenate([[0], spaces + 1])
    ends = np.concatenate([spaces, [len(codes)]])
    return mix((sums[ends] - sums[starts]) * inverses[starts] + np.uint64(7))


def run_hashes(words: Hashes, size: int) -> Hashes:
    """(words - size + 1,): a hash of each run of `size` words; empty if there are fewer words."""
    runs = np.zeros(max(0, len(words) - size + 1), np.uint64)
    for offset in range(size):
        runs = runs * _PRIME + words[offset : offset + len(runs)]
    return mix(runs)
