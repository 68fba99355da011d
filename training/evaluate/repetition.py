"""Repetition within a text and between texts. Words are `training.common.text.WORD`'s, in lower case.

Formulas: rep-n and diversity, Welleck and others (arXiv 1908.04319) and Su and others (2202.06417); distinct-n, Li and others
(1510.03055); self-BLEU, Zhu and others (1802.01886), with BLEU's counts smoothed by one (Lin and Och 2004); MATTR, Covington and
McFall (2010). All but the compression ratio depend on length, so compared texts are cut to the same number of words.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Sequence

from training.evaluate.degeneration import first_words, words_of

WINDOW = 500
SELF_BLEU_MOST = 100


def ngrams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(size))))


def repeated(words: Sequence[str], size: int) -> float:
    """rep-n: 1 - distinct n-grams / n-grams of one text; 0 for a shorter text.

    >>> repeated("to be or not to be or not".split(), 4)
    0.2
    """
    found = ngrams(words, size)
    return round(1 - len(set(found)) / len(found), 12) if found else 0.0


def diversity(words: Sequence[str]) -> float:
    """The product of 1 - rep-n for n = 2, 3, 4: 1 without repetition."""
    return math.prod(1 - repeated(words, size) for size in (2, 3, 4))


def distinct(texts: Sequence[Sequence[str]], size: int) -> float:
    """Distinct n-grams of all texts together / all n-grams, which includes repetition between stories."""
    found = [gram for words in texts for gram in ngrams(words, size)]
    return len(set(found)) / len(found) if found else 0.0


def compression(text: str) -> float:
    """Bytes / bytes of gzip: English prose of a story's length has 2.2 to 2.6, a loop 10 and more."""
    raw = text.encode()
    return len(raw) / len(gzip.compress(raw, 9, mtime=0)) if raw else 0.0


def moving_types(words: Sequence[str], window: int = WINDOW) -> float:
    """MATTR: the mean share of distinct words in all windows of so many words; of the whole text if it is shorter."""
    if not words:
        return 0.0
    if len(words) <= window:
        return len(set(words)) / len(words)
    counts = Counter(words[:window])
    total = len(counts)
    for leaves, enters in zip(words, words[window:]):
        counts[leaves] -= 1
        if not counts[leaves]:
            del counts[leaves]
        counts[enters] += 1
        total += len(counts)
    return total / (len(words) - window + 1) / window


def self_bleu(texts: Sequence[Sequence[str]], size: int = 4) -> float:
    """The mean BLEU of each text against all others: higher if a model repeats the same story."""
    texts = [words for words in texts if words][:SELF_BLEU_MOST]
    if len(texts) < 2:
        return 0.0
    counted = [[Counter(ngrams(words, n)) for n in range(1, size + 1)] for words in texts]
    return sum(_bleu(number, texts, counted) for number in range(len(texts))) / len(texts)


def _bleu(number: int, texts: Sequence[Sequence[str]], counted: list[list[Counter[tuple[str, ...]]]]) -> float:
    others = [other for other in range(len(texts)) if other != number]
    logs = []
    for n, own in enumerate(counted[number]):
        most: Counter[tuple[str, ...]] = Counter()
        for other in others:
            most |= counted[other][n] & own
        hits, total = sum(most.values()), sum(own.values())
        smooth = n > 0  # of n-grams of two words and more
        if not total or not (hits or smooth):
            return 0.0
        logs.append(math.log((hits + smooth) / (total + smooth)))
    length = len(texts[number])
    nearest = min((len(texts[other]) for other in others), key=lambda one: (abs(one - length), one))
    return math.exp(sum(logs) / len(logs) + min(0.0, 1 - nearest / length))


def measures(text: str, words: int) -> dict[str, float]:
    """The metrics of the first `words` words of a text."""
    text = first_words(text, words)
    found = words_of(text)
    return {f"repeated_{size}": repeated(found, size) for size in (2, 3, 4)} | {
        "diversity": diversity(found),
        "types_in_500_words": moving_types(found),
        "compression": compression(text),
    }
