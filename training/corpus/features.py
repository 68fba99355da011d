"""The features of the learned filter: each is a number, with descriptions of a high and a low value.

The features do not judge: `training.corpus.learn_quality` learns from stories what is common (the tables) and what distinguishes
stories from other texts (the weights).
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.corpus.profile import STOP_WORDS, Profile

Floats = npt.NDArray[np.float64]
_PIECE = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[.,;:!?…—“”\"]")
_SENTENCE = re.compile(r"(?<=[.!?…])[”’\"')*]*\s+|\n+")
_OPENS = "“"
PUNCTUATION = (".", ",", ";", ":", "!", "?", "…", "—", "“", "”", '"')
SAMPLE = 18_000  # characters that are used: the beginning, the middle and the end of a longer text
_FAR = 30  # sentences between two that have words in common only by chance


class Feature(NamedTuple):
    """What a high and a low value mean."""

    high: str
    low: str


FEATURES: dict[str, Feature] = {
    "stop words": Feature("many function words", "few function words"),
    "stop variety": Feature("many different function words", "few different function words"),
    "known words": Feature("common words", "many words that are rare in stories"),
    "word length": Feature("long words", "short words"),
    "long words": Feature("many very long words", "few long words"),
    "lone letters": Feature("many single letters", "no single letters"),
    "mixed words": Feature("words with capitals or digits inside", "regular words"),
    "letter pairs": Feature("common letter pairs", "rare letter pairs"),
    "word pairs": Feature("words in a common order", "words in an uncommon order"),
    "words apart": Feature("common sentence structure", "uncommon sentence structure"),
    "capitalised": Feature("many capitalised words", "few capitalised words"),
    "all capitals": Feature("many words in capitals", "few words in capitals"),
    "inner capitals": Feature("common words capitalised inside sentences", "regular capitals"),
    "sentence starts": Feature("sentences that start with a capital", "sentences that start with a small letter"),
    "sentence length": Feature("very long sentences", "very short sentences"),
    "sentence spread": Feature("sentences of varied lengths", "sentences of similar lengths"),
    "commas": Feature("many commas", "few commas"),
    "signs": Feature("many unusual symbols", "no unusual symbols"),
    "digits": Feature("many digits", "few digits"),
    "paragraph length": Feature("long paragraphs", "short paragraphs"),
    "unfinished": Feature("many lines that end without punctuation", "lines that end with punctuation"),
    "short lines": Feature("many short lines", "few short lines"),
    "numbered ends": Feature("lines that end with a number", "no lines that end with a number"),
    "bullets": Feature("lines that begin like a list", "no lists"),
    "repeated lines": Feature("repeated lines", "no repeated lines"),
    "repeated runs": Feature("repeated phrases", "no repeated phrases"),
    "compression": Feature("repetitive text", "text with little repetition"),
    "variety": Feature("many different words", "few different words"),
    "pronouns": Feature("people who act (he, she, I)", "no people who act"),
    "past": Feature("events in the past", "no events in the past"),
    "quotes": Feature("unbalanced quotes", "balanced quotes"),
    "cohesion": Feature(
        "neighbouring sentences with words in common", "neighbouring sentences without words in common"
    ),
}

_PRONOUNS = (
    "he",
    "she",
    "i",
    "his",
    "her",
    "him",
    "my",
    "me",
    "they",
    "them",
    "their",
    "we",
    "us",
    "you",
    "your",
    "our",
)
_PAST = (
    "was",
    "were",
    "had",
    "said",
    "did",
    "could",
    "would",
    "came",
    "went",
    "saw",
    "took",
    "thought",
    "knew",
    "made",
    "asked",
)


class Tables(NamedTuple):
    """What is common in stories. The tables of pairs hold log2 of the ratio of observed to expected frequency of two classes."""

    vocabulary: dict[str, int]  # a word -> its rank
    classes: dict[str, int]  # frequent word or punctuation -> its class; two more follow for known and unknown words
    letter_pairs: (
        Floats  # (27, 27): log2 probability of the second letter after the first; index 0 is any other character
    )
    word_pairs: Floats  # (classes, classes): one next to the other
    words_apart: Floats  # (classes, classes): with one word between


def class_ids(pieces: Sequence[str], classes: dict[str, int], vocabulary: dict[str, int]) -> npt.NDArray[np.int64]:
    """(pieces,): the class of each piece."""
    known, unknown = len(classes), len(classes) + 1
    ids = (classes.get(piece, known if piece in vocabulary else unknown) for piece in pieces)
    return np.fromiter(ids, np.int64, len(pieces))


def pieces_of(text: str) -> list[str]:
    """Words and punctuation in their order, in lower case."""
    return _PIECE.findall(text.lower().replace("'", "’"))


def letter_ids(text: str) -> npt.NDArray[np.uint8]:
    """(characters,): a to z as 1 to 26, everything else as 0."""
    codes = np.frombuffer(text.lower().encode("utf-32-le", "replace"), dtype=np.uint32)
    return np.where((codes >= 97) & (codes <= 122), codes - 96, 0).astype(np.uint8)


def sample(text: str) -> str:
    """A bounded sample of a text: three stretches of whole paragraphs of a long one, or all of a short one."""
    if len(text) <= SAMPLE:
        return text
    third, parts = SAMPLE // 3, []
    for start in (0, (len(text) - third) // 2, len(text) - third):
        begins = text.find("\n\n", start, start + third // 2) + 2 if start else 0
        begins = begins if begins > 1 or not start else start
        parts.append(text[begins : start + third].rpartition("\n\n")[0] or text[begins : start + third])
    parts[-1] = text[begins:]
    return "\n\n".join(part.strip() for part in parts)


def features(whole: Profile, tables: Tables) -> Floats:
    """(len(FEATURES),): the features of a text, in the order of FEATURES."""
    profile = Profile(sample(whole.text), whole.language)
    forms, counts, words = profile.forms, profile.counts, max(1, profile.tokens)
    lines = profile.lines or [""]
    letters = letter_ids(profile.text)
    inside = (letters[:-1] > 0) | (letters[1:] > 0)
    pairs = tables.letter_pairs[letters[:-1], letters[1:]][inside]
    pieces = pieces_of(profile.text)
    ids = class_ids(pieces, tables.classes, tables.vocabulary)
    sentences = [part for part in _SENTENCE.split(profile.text) if part and any(map(str.isalpha, part[:20]))]
    lengths = np.array([sentence.count(" ") + 1 for sentence in sentences] or [0])
    lower_starts = sum(map(_starts_lower, sentences))
    window = [word.lower() for word in profile.written[:600]]
    values = {
        "stop words": profile.stop_words,
        "stop variety": sum(word in counts for word in STOP_WORDS) / min(len(STOP_WORDS), 12 * words**0.35),
        "known words": sum(count for word, count in counts.items() if word in tables.vocabulary) / words,
        "word length": (profile.letters + profile.digits) / words,
        "long words": sum(count for word, count in counts.items() if len(word) > 11) / words,
        "lone letters": sum(counts[x] for x in "bcdefghjklmnpqrstuvwxyz") / words,
        "mixed words": sum(count for form, count in forms.items() if form[1:] != form[1:].lower() and not form.isupper()) / words,
        "letter pairs": float(pairs.mean()) if len(pairs) else -8.0,
        "word pairs": float(tables.word_pairs[ids[:-1], ids[1:]].mean()) if len(ids) > 1 else 0.0,
        "words apart": float(tables.words_apart[ids[:-2], ids[2:]].mean()) if len(ids) > 2 else 0.0,
        "capitalised": sum(count for form, count in forms.items() if form[0].isupper()) / words,
        "all capitals": sum(count for form, count in forms.items() if len(form) > 1 and form.isupper()) / words,
        "inner capitals": _inner_capitals(profile.text) / words,
        "sentence starts": 1 - lower_starts / max(1, len(sentences)),
        "sentence length": math.log(1 + float(lengths.mean())),
        "sentence spread": float(lengths.std()) / (1 + float(lengths.mean())),
        "commas": pieces.count(",") / words,
        "signs": sum(map(profile.text.count, "|<>{}[]=@^~\\_%+/&•·→©®$")) / words,
        "digits": profile.digits / profile.visible,
        "paragraph length": math.log(1 + words / max(1, len(profile.paragraphs))),
        "unfinished": profile.unfinished,
        "short lines": sum(line.count(" ") < 5 for line in lines) / len(lines),
        "numbered ends": sum(line[-1:].isdigit() for line in lines) / len(lines),
        "bullets": sum(line[:1] in "-•·*0123456789(" for line in lines if line) / len(lines),
        "repeated lines": 1 - len(set(lines)) / len(lines),
        "repeated runs": profile.repeated,
        "compression": len(zlib.compress(profile.text[:20_000].encode("utf-8", "replace"), 6)) / max(1, min(20_000, len(profile.text))),
        "variety": len(set(window)) / max(1, len(window)) ** 0.8,
        "pronouns": sum(counts[word] for word in _PRONOUNS) / words,
        "past": (sum(counts[word] for word in _PAST) + sum(n for w, n in counts.items() if w.endswith("ed"))) / words,
        "quotes": _quotes(profile.paragraphs),
        "cohesion": _cohesion(sentences),
    }  # fmt: skip
    values["compression"] = -values["compression"]
    return np.array([values[name] for name in FEATURES], dtype=np.float64)


def _starts_lower(sentence: str) -> bool:
    first = next((letter for letter in sentence[:12] if letter.isalpha()), "A")
    return first.islower()


_INNER = re.compile(
    r"(?<=[a-z,] )(?:The|And|Of|To|In|That|It|Was|For|With|As|But|At|Had|Not|From|Which|They|Him|Her|There|When|Then|A|An|Were|His|He|She)\b"
)


def _inner_capitals(text: str) -> int:
    return len(_INNER.findall(text))


def _quotes(paragraphs: Sequence[str]) -> float:
    """The share of quotes that open inside another one, or close without an open one.

    The last quote of a paragraph may stay open; a straight one only if the next paragraph begins with one.
    """
    wrong = total = 0
    for paragraph, following in zip(paragraphs, [*paragraphs[1:], ""]):
        if '"' in paragraph:
            count = paragraph.count('"')
            total += count
            wrong += count % 2 and following[:1] != '"'
        depth, inner = 0, False  # inside ‘...’ another “...” may open
        for quote in re.findall("[“”‘]", paragraph):
            if quote == "‘":
                inner = True
                continue
            total += 1
            opens = quote == _OPENS
            wrong += (depth > 0 and not inner) if opens else depth == 0
            depth = max(0, depth + (1 if opens else -1))
            inner = not opens and depth > 0
    return wrong / total if total >= 10 else 0.0


def _cohesion(sentences: Sequence[str]) -> float:
    """The share of neighbouring sentences with a longer word in common, minus the share of distant ones."""
    sets = [
        {word for word in re.findall(r"[^\W\d_]{5,}", sentence.lower()) if word not in STOP_WORDS}
        for sentence in sentences[:400]
    ]
    near = [not first.isdisjoint(second) for first, second in zip(sets, sets[2:])]
    near += [not first.isdisjoint(second) for first, second in itertools.pairwise(sets)]
    far = [not first.isdisjoint(second) for first, second in zip(sets, sets[_FAR:])]
    if len(far) < 10:
        return 0.06  # too short to measure: the usual value of stories
    return sum(near) / len(near) - sum(far) / len(far)
