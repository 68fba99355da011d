"""Ten principles that a program can check and break, to measure whether a model learns from violations.

A rule counts its violations in a text, and adds one to a text that has none by a minimal change. The rules are for English fiction with curly
quotes. They apply to narration (the text outside quotes), to speech, or to whole paragraphs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import regex

from training.common.text import SENTENCE_END, count_words

Count = Callable[[str], int]
Break = Callable[[str, random.Random], str | None]

LONGEST_PARAGRAPH = 150
LONGEST_SENTENCE = 40

_SPEECH = regex.compile(r"“[^”\n]*(?:”|(?=\n)|$)")
_PRESENT = {
    "was": "is", "said": "says", "went": "goes", "came": "comes", "looked": "looks", "saw": "sees", "knew": "knows",
    "thought": "thinks", "seemed": "seems", "stood": "stands", "sat": "sits", "took": "takes", "made": "makes",
    "gave": "gives", "turned": "turns", "asked": "asks", "felt": "feels", "began": "begins",
}  # fmt: skip
_PRESENT_FORM = regex.compile(rf"\b(?:{'|'.join(_PRESENT.values())}|are|has)\b")
_HE_PAST = regex.compile(rf"\b(?:[Hh]e|[Ss]he|[Ii]t|[Tt]here|[A-Z]\w+) (?P<verb>{'|'.join(_PRESENT)})\b")
_TAG = r"(?:said|asked|replied|answered|cried|exclaimed)"
_WHO = r"(?:he|she|I|they|the \w+|Mr\. \w+|Mrs\. \w+|Miss \w+|[A-Z]\w+)"
_TAGGED = regex.compile(rf"(?:\b{_TAG} {_WHO}|\b(?:he|she|I) {_TAG})(?=[,.;:!?])")
_SHOWY = (
    "cried", "exclaimed", "murmured", "whispered", "remarked", "observed", "muttered", "returned", "declared",
    "ejaculated", "shouted", "growled", "continued", "responded", "rejoined", "retorted",
)  # fmt: skip
_SHOWY_TAG = regex.compile(rf"”\s(?:{'|'.join(_SHOWY)})\b|”\s(?:he|she|I|they|[A-Z]\w+)\s(?:{'|'.join(_SHOWY)})\b")
_PLAIN_TAG = regex.compile(r"(?<=”\s(?:(?:he|she|I|they|[A-Z]\w+)\s)?)(?:said|asked|replied|answered)\b")
_INTENSIFIER = regex.compile(r"\b(?:[Vv]ery|[Rr]eally|[Qq]uite|[Ee]xtremely|[Ee]xceedingly|[Uu]tterly|[Tt]erribly)\b")
_ADJECTIVE = regex.compile(
    r"(?<=\b(?:was|were|a|the|is|so) )(?:great|old|little|good|long|small|young|dark|quiet|large|fine|strange|poor|happy|"
    r"tired|beautiful|cold|white|black|heavy|hard|deep|slow|bright|pale|thin|tall|angry|sad|rich|strong|wide|simple|pretty|high)\b"
)
_AND = regex.compile(r"(?:And|But|So|For|Or|Yet)\b")
_CONTINUES = regex.compile(r"(?:He|She|It|They|We|The|There|Then|In|At|On|His|Her|Their|A|An|This|That|When|As|If)\b")


def blank_speech(text: str) -> str:
    """Return the text with the words inside quotes replaced by spaces, so that positions stay the same."""
    return _SPEECH.sub(lambda match: "“" + " " * (len(match[0]) - 1), text)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the bounds of each sentence, within paragraphs."""
    begin = 0
    for match in SENTENCE_END.finditer(text):
        yield begin, match.start() + len(match[0].rstrip())
        begin = match.end()
    if begin < len(text):
        yield begin, len(text)


def _replaced(text: str, *changes: tuple[int, int, str]) -> str:
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _counting(pattern: regex.Pattern[str], of: Callable[[str], str] = str) -> Count:
    return lambda text: sum(1 for _ in pattern.finditer(of(text)))


def _to_present(text: str, rng: random.Random) -> str | None:
    """Return the text with one or two sentences of narration in the present tense."""
    narration = blank_speech(text)
    found = []
    for start, end in sentences(text):
        verbs = list(_HE_PAST.finditer(narration, start, end))
        if verbs:
            found.append([(verb.start("verb"), verb.end("verb"), _PRESENT[verb["verb"]]) for verb in verbs])
    if not found:
        return None
    return _replaced(text, *(change for changes in rng.sample(found, min(len(found), 2)) for change in changes))


def _join_paragraphs(text: str, rng: random.Random) -> str | None:
    """Return the text with paragraphs joined, as few as make one that is too long."""
    blocks = text.split("\n\n")
    ways = []
    for first in range(len(blocks)):
        for last in range(first + 1, len(blocks)):
            if count_words(joined := " ".join(blocks[first : last + 1])) > LONGEST_PARAGRAPH:
                ways.append((last - first, first, last, joined))
                break
    if not ways:
        return None
    fewest = min(way[0] for way in ways)
    _, first, last, joined = rng.choice([way for way in ways if way[0] == fewest])
    return "\n\n".join([*blocks[:first], joined, *blocks[last + 1 :]])


def _without_quotes(block: str) -> bool:
    return "“" not in block and "”" not in block and _TAGGED.search(block) is not None


def _count_bad_quotes(text: str) -> int:
    """Count paragraphs with speech without quotes, or unpaired quotes. A speech over several paragraphs is left open, by convention."""
    blocks = text.split("\n\n")
    bad = 0
    for number, block in enumerate(blocks):
        is_open = broken = False
        for character in block:
            if character in "“”":
                broken |= is_open == (character == "“")
                is_open = character == "“"
        continues = number + 1 < len(blocks) and blocks[number + 1].startswith("“")
        bad += broken or (is_open and not continues) or _without_quotes(block)
    return bad


def _remove_quotes(text: str, rng: random.Random) -> str | None:
    """Return the text with one quote, or all quotes, removed from one or two paragraphs."""
    blocks = text.split("\n\n")
    spoken = [number for number, block in enumerate(blocks) if "”" in block]
    if not spoken:
        return None
    for number in rng.sample(spoken, min(len(spoken), 2)):
        bare = blocks[number].replace("“", "").replace("”", "")
        if _without_quotes(bare) and rng.random() < 0.5:
            blocks[number] = bare
        else:
            place = rng.choice([place for place, character in enumerate(blocks[number]) if character in "“”"])
            blocks[number] = _replaced(blocks[number], (place, place + 1, ""))
    return "\n\n".join(blocks)


def _exclaim(text: str, rng: random.Random) -> str | None:
    ends = [
        place for start, end in sentences(text) if (place := text.rfind(".", start, end)) >= end - 2 and place > start
    ]
    if not ends:
        return None
    return _replaced(text, *((place, place + 1, "!") for place in rng.sample(ends, min(len(ends), 2))))


def _show_off(text: str, rng: random.Random) -> str | None:
    tags = list(_PLAIN_TAG.finditer(text))
    if not tags:
        return None
    chosen = rng.sample(tags, min(len(tags), 2))
    return _replaced(text, *((tag.start(), tag.end(), rng.choice(_SHOWY)) for tag in chosen))


def _intensify(text: str, rng: random.Random) -> str | None:
    places = [match.start() for match in _ADJECTIVE.finditer(text)]
    if not places:
        return None
    return _replaced(
        text,
        *(
            (place, place, rng.choice(("very ", "quite ", "really ", "extremely ")))
            for place in rng.sample(places, min(len(places), 2))
        ),
    )


def _openings(text: str) -> int:
    return sum(_AND.match(text[start:end].lstrip("“‘")) is not None for start, end in sentences(text))


def _begin_with_and(text: str, rng: random.Random) -> str | None:
    starts = [start for start, end in sentences(text) if start and _CONTINUES.match(text, start)]
    if not starts:
        return None
    chosen = rng.sample(starts, min(len(starts), 2))
    return _replaced(text, *((at, at + 1, f"{rng.choice(('And', 'But', 'So'))} {text[at].lower()}") for at in chosen))


def _long_sentences(text: str) -> int:
    return sum(count_words(text[start:end]) > LONGEST_SENTENCE for start, end in sentences(text))


def _join_sentences(text: str, rng: random.Random) -> str | None:
    """Return the text with sentences of a paragraph joined by "and", as few as make one that is too long."""
    bounds = list(sentences(text))
    narration = blank_speech(text)
    ways = []
    for first in range(len(bounds)):
        changes = []
        for second in range(first + 1, len(bounds)):
            before, after = bounds[second - 1], bounds[second]
            gap = text[before[1] : after[0]]
            if "\n" in gap or not _CONTINUES.match(text, after[0]) or narration[before[1] - 1] != ".":
                break
            changes.append((before[1] - 1, after[0] + 1, f", and {text[after[0]].lower()}"))
            if count_words(text[bounds[first][0] : after[1]]) > LONGEST_SENTENCE:
                ways.append(changes[:])
                break
    if not ways:
        return None
    fewest = min(map(len, ways))
    return _replaced(text, *rng.choice([way for way in ways if len(way) == fewest]))


def _dash(text: str, rng: random.Random) -> str | None:
    places = [match.start() for match in regex.finditer(r"(?<=\w), (?=\w)", text)]
    if not places:
        return None
    return _replaced(text, *((place, place + 2, "—") for place in rng.sample(places, min(len(places), 2))))


def _semicolon(text: str, rng: random.Random) -> str | None:
    changes = [
        (match.start(), match.start() + 1, ";")
        for match in regex.finditer(r"(?<=\w), (?=(?:and|but|he|she|it|they|then|so)\b)", text)
    ]
    if not changes:
        return None
    return _replaced(text, *rng.sample(changes, min(len(changes), 2)))


@dataclass(frozen=True)
class Rule:
    """A principle. `count` returns the number of its violations in a text; `break_` adds violations, or returns None if it cannot."""

    key: str
    principle: str
    count: Count
    break_: Break

    def violation(self, text: str, rng: random.Random) -> str | None:
        """Return the text with violations; None if it already has some, or if it cannot have any."""
        if self.count(text):
            return None
        made = self.break_(text, rng)
        return made if made is not None and self.count(made) else None


RULES = (
    Rule("past-tense", "The narration stays in the past tense.", _counting(_PRESENT_FORM, blank_speech), _to_present),
    Rule(
        "short-paragraphs",
        f"No paragraph has more than {LONGEST_PARAGRAPH} words.",
        lambda text: sum(count_words(block) > LONGEST_PARAGRAPH for block in text.split("\n\n")),
        _join_paragraphs,
    ),
    Rule("speech-in-quotes", "Speech is in quotes.", _count_bad_quotes, _remove_quotes),
    Rule("no-exclamations", "There is no exclamation mark.", lambda text: text.count("!"), _exclaim),
    Rule("plain-tags", "The verbs of speech are say, ask, reply and answer.", _counting(_SHOWY_TAG), _show_off),
    Rule("no-intensifiers", "No very, quite, really or extremely.", _counting(_INTENSIFIER), _intensify),
    Rule("no-and-first", "No sentence begins with And, But, So, For, Or or Yet.", _openings, _begin_with_and),
    Rule("short-sentences", f"No sentence has more than {LONGEST_SENTENCE} words.", _long_sentences, _join_sentences),
    Rule("no-dashes", "There is no dash.", lambda text: text.count("—"), _dash),
    Rule("no-semicolons", "There is no semicolon.", lambda text: text.count(";"), _semicolon),
)
