"""The length that a request names, in words, or in characters for Chinese and Japanese: "about 900 words", "a 2,000-word story", "不少于八百字".

Of several numbers the one for the whole text counts. Left out are numbers of a part ("each paragraph has 100 words"), of a text that is given
("this 3,000-word draft"), and small ones of a detail ("a telegram of nine words"); of the rest the last one counts, since people correct themselves.
Parts are multiplied where the request says how many there are. The time is linear in the length of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import regex


class LengthAsked(NamedTuple):
    """Words that are asked for. Both bounds are equal for "about 900 words"; None stands for a bound that is not named."""

    low: int | None
    high: int | None

    @property
    def target(self) -> int:
        """The one number that stands for it: the middle of a range, or the only bound."""
        bounds = [one for one in self if one is not None]
        return sum(bounds) // len(bounds)


_ONES = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_NUMERALS = {name: number for number, name in enumerate(_ONES.split(), 1)} | {"a": 1, "an": 1}
_NUMERALS |= {
    name: 10 * number
    for number, name in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "k": 1000, "千": 1000, "万": 10_000, "萬": 10_000}
_HAN = {one: number % 10 for number, one in enumerate("〇一二三四五六七八九")} | {"零": 0, "两": 2, "兩": 2}
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "萬": 10_000}

_THOUSANDS = r"\d{1,3}(?:(?:[,.'’\u00a0\u202f]\d{3}){1,2}|\u0020[05]00)(?!\d)"
_DIGITS = rf"{_THOUSANDS}|\d{{1,9}}(?:[.,]\d{{1,3}})?"
_NAMES = "|".join(sorted(_NUMERALS.keys() - {"a", "an"}, key=len, reverse=True))
_SPELT = (
    rf"\b(?:an?[\s-]+(?=hundred|thousand)|(?:{_NAMES})\b)(?:[\s-]*(?:and\s+)?(?:{_NAMES}|hundred|thousand)\b){{0,7}}"
)
_HAN_CHARACTER = "[〇零一二两兩三四五六七八九十百千万萬]"
_HAN_NUMBER = f"(?<!{_HAN_CHARACTER}){_HAN_CHARACTER}{{1,12}}"
_FIGURES = rf"(?<![\p{{N}}A-Za-z]|\p{{N}}[.,])(?:{_DIGITS})(?:\s?(?:k\b|千|万|萬)|[\s-](?:hundred|thousand)\b)?"
_NUMBER = rf"{_FIGURES}|{_SPELT}|{_HAN_NUMBER}"
_RANGE = (  # duplicate names: whichever form matches
    rf"(?:\bbetween\s+(?P<from>{_NUMBER})(?:\s+words)?\s+and\s+"
    rf"|(?P<from>{_FIGURES}|{_HAN_NUMBER})\s*字?\s*[-–—~～至到]\s*|(?P<from>{_NUMBER})(?:\s+words)?\s*(?:\bto\b|\bbis\b|から)\s*)?"
)


_UNIT = (
    r"(?P<unit>\+?(?:\s?\([^()\n]{1,30}\))?[\s-]*(?:(?:or so|odd|total|English|more or less)\s+)?"
    r"(?:words?|wörtern?|worten?|mots|palabras|parole|palavras|woorden|слова?)\b"
    r"|\s?[多余来來]?\s?[个個]?\s?(?:汉字|漢字|文字|单词|單詞|字|词|詞)(?![母符幕典面体體号號節节段成诀訣串眼]))"
)
_MOST = (
    r"at most|(?:no|not) (?:more|longer) than|not (?:to )?exceed(?:ing)?|up to|under|below|(?:less|fewer) than|within|max(?:imum|\.)?(?: length)?(?: of)?|limit(?:ed)?(?: of| to)?"
    r"|不得?超[过過出]|不[多大]于|不多於|最多|至多|少于|少於|限"
)
_LEAST = (
    r"at least|(?:no|not) (?:less|fewer|shorter) than|min(?:imum|\.)?(?: length)?(?: of)?|over|more than|above|upwards of|exceed(?:ing)?"
    r"|不[少低]于|不[少低]於|不得少[于於]|至少|最少|起码|超[过過]|多于|多於"
)
_ABOUT = r"(?:about|around|approximately|approx\.?|roughly|some|circa|ca\.|exactly|precisely|only|just|of|a|an|the|~|≈|大?[约約]|大概|是|在|[为為]|[:：])"
_BEFORE = rf"(?:(?:\b|(?=\p{{Han}}))(?:(?P<most>{_MOST})|(?P<least>{_LEAST}))\s*(?:{_ABOUT}\s*){{0,2}})?"
_AFTER = (
    r"(?:\s*(?:(?P<most_after>or (?:less|fewer|under|shorter)|max(?:imum)?\b|at (?:the )?most|limit\b|以内|以內|以下|之内|之內|内|內)"
    r"|(?P<least_after>or (?:more|longer)|min(?:imum)?\b|at least|以上|起)))?"
)
_MENTION = regex.compile(
    rf"{_BEFORE}{_RANGE}(?P<number>{_NUMBER}){_UNIT}{_AFTER}",
    regex.IGNORECASE,
)
_LABEL = regex.compile(
    rf"(?:\bword[\s-]*(?:count|limit|target)|\bwords|字[数數](?:要求)?)\s*(?:is|of|=|[:：])?\s*{_BEFORE}(?:{_ABOUT}\s*){{0,2}}"
    rf"{_RANGE}(?P<number>{_NUMBER})(?![\w%])(?P<unit>){_AFTER}",
    regex.IGNORECASE,
)
_PARTS = (
    "chapters?|sections?|parts?|paragraphs?|scenes?|acts?|stanzas?|verses?|lines?|sentences?|titles?|headings?|introductions?|intros?|conclusions?|"
    "abstracts?|summar(?:y|ies)|synops[ie]s|outlines?|prologues?|epilogues?|letters?|entr(?:y|ies)|episodes?|stories|essays|poems|pages?|answers?"
)
_COUNTED = regex.compile(
    rf"(?P<count>\d+|{_NAMES})\s+(?:[\p{{L}}-]+\s+)?(?:{_PARTS})[\s,]+(?:of|with|at|each(?: of)?|having)?\s*$",
    regex.IGNORECASE,
)
_EACH_BEFORE = regex.compile(r"(?:\b(?:each|every|per)\b|每)[^.;!?\n,，。；！？]{0,60}$", regex.IGNORECASE)
_EACH_AFTER = regex.compile(
    rf"\s*(?:each\b|apiece\b|every\b|(?:per|a|for each|in each)\s+(?:{_PARTS})\b|(?:per|an?) (?:day|night|hour|minute)\b)",
    regex.IGNORECASE,
)
_PART_BEFORE = regex.compile(
    rf"(?:\b(?:{_PARTS})\s+(?:of|with|in|(?:should|must)(?: \w+)?)|标题|標題|题目|題目|摘要|开头|開頭|结尾|結尾|[段章节節])[^.;!?\n,，。；！？]{{0,12}}$", regex.IGNORECASE
)  # fmt: skip
_PART_AFTER = regex.compile(
    rf"[\s-]*(?:\p{{L}}+\s+)?(?:{_PARTS})\b|的?(?:标题|標題|题目|題目|摘要|开头|開頭|结尾|結尾|段|章)", regex.IGNORECASE
)
_GIVEN = regex.compile(
    r"(?:\b(?:this|that|these|those|my|following|above|attached|original)|\b(?:first|last|next))\s+$", regex.IGNORECASE
)
_GIVEN_AFTER = regex.compile(r"[\s-]*\p{L}+\s+(?:below|above|that follows)\b", regex.IGNORECASE)
_WHOLE = regex.compile(r"\s*(?:long\b|in (?:total|all)\b|altogether\b|overall\b)", regex.IGNORECASE)
_WHOLE_BEFORE = regex.compile(
    r"(?:\b(?:total|whole|entire|overall|altogether)\b|全文|[总總]|共)[^.;!?\n。；！？]{0,40}$", regex.IGNORECASE
)
_CHANGED = regex.compile(
    r"\b(?:cut|shorten|reduce|trim|expand|extend|lengthen)[^.;!?\n]{0,40}\bfrom\s*$", regex.IGNORECASE
)
_DETAIL = 0.1
"""Numbers below this share of the largest are of a detail."""
_NEAR = 80
"""Characters before a number that can say what it is of."""
_MOST_READ = 20_000
"""Characters of a text that are read: what stands in the middle of a longer one is material, not a request."""


class _Mention(NamedTuple):
    place: int
    asked: LengthAsked
    whole: bool
    part: bool
    given: bool


def length_asked(texts: Iterable[str]) -> LengthAsked | None:
    """The length that the texts of a request ask for, the latest last; None if they name none.

    >>> [length_asked([text]) for text in ("In 1.5k words.", "Between 800 and 1,000 words.", "At most two thousand words.", "As you like.")]
    [LengthAsked(low=1500, high=1500), LengthAsked(low=800, high=1000), LengthAsked(low=None, high=2000), None]
    """
    found = [one for text in texts for one in _mentions(text) if not one.given]
    kept = [one for one in found if one.whole] or [one for one in found if not one.part] or found
    largest = max((one.asked.target for one in kept), default=0)
    kept = [one for one in kept if one.asked.target >= _DETAIL * largest]
    if not kept:
        return None
    low, high = kept[-1].asked
    for other in kept[-2::-1]:  # "at least 800 words and at most 1,000"
        if low is None and other.asked.high is None and (other.asked.low or 0) <= (high or 0):
            low = other.asked.low
        elif high is None and other.asked.low is None and (low or 0) <= (other.asked.high or 0):
            high = other.asked.high
    return LengthAsked(low, high)


def requested_words(text: str) -> int | None:
    """The number of words that a request asks for; None if it names none.

    >>> requested_words("It should be approximately 900 words long."), requested_words("1,200 words long!"), requested_words("long")
    (900, 1200, None)
    """
    found = length_asked([text])
    return found.target or None if found else None


def _mentions(text: str) -> Iterator[_Mention]:
    if len(text) > _MOST_READ:
        text = f"{text[: _MOST_READ // 2]}\n{text[-_MOST_READ // 2 :]}"
    found = [one for pattern in (_MENTION, _LABEL) for one in pattern.finditer(text)]
    end = 0
    for match in sorted(found, key=lambda one: (one.start(), -one.end())):
        if match.start() >= end and (mention := _mention(text, match)):
            end = match.end()
            yield mention


def _mention(text: str, match: regex.Match[str]) -> _Mention | None:
    number, scale = _value(match["number"])
    han = bool(regex.fullmatch(_HAN_NUMBER, match["number"]))
    if (han and number < 10) or number > 10**7:  # 四字成语, an idiom of four characters
        return None
    before, after = text[max(0, match.start() - _NEAR) : match.start()], text[match.end() : match.end() + _NEAR]
    low: int | None = number
    high: int | None = number
    if match["from"]:
        least, own_scale = _value(match["from"])
        least = least * scale if own_scale == 1 and least * scale <= number else least  # "two to three thousand"
        if least <= number and not _CHANGED.search(before):
            low = least
    if low == high:
        if match["most"] or match["most_after"]:
            low = None
        elif match["least"] or match["least_after"] or match["unit"].startswith("+"):
            high = None
    each = bool(_EACH_BEFORE.search(before) or _EACH_AFTER.match(after))
    if counted := _COUNTED.search(before):
        times = _value(counted["count"])[0]
        low, high = (None if one is None else one * times for one in (low, high))
        each = False
    elif each:
        return None
    part = not counted and bool(_PART_BEFORE.search(before) or _PART_AFTER.match(after))
    whole = bool(_WHOLE.match(after) or _WHOLE_BEFORE.search(before))
    given = bool(_GIVEN.search(before) or _GIVEN_AFTER.match(after))
    return _Mention(match.start(), LengthAsked(low, high), whole, part, given)


def _value(text: str) -> tuple[int, int]:
    """The number that a text spells, and the scale at its end: 1,000 for "2k" and "two thousand"."""
    if regex.fullmatch(_HAN_NUMBER, text):
        return _han(text), 1
    digits = regex.match(_DIGITS, text)
    if digits is None:
        return _spelt(text)
    scale = _SCALES.get(text[digits.end() :].strip(" -\u00a0\n\t").lower(), 1)
    if regex.fullmatch(_THOUSANDS, digits[0]):
        return int(regex.sub(r"\D", "", digits[0])) * scale, scale
    return round(float(digits[0].replace(",", ".")) * scale), scale


def _spelt(text: str) -> tuple[int, int]:
    """The value of an English numeral.

    >>> [_spelt(text)[0] for text in ("two thousand", "fifteen hundred", "a thousand five hundred and twenty-one")]
    [2000, 1500, 1521]
    """
    total = current = 0
    scale = 1
    for name in regex.split(r"[\s-]+", text.lower()):
        scale = _SCALES.get(name, 1)
        if name == "thousand":
            total, current = total + (current or 1) * 1000, 0
        elif name == "hundred":
            current = (current or 1) * 100
        else:
            current += _NUMERALS.get(name, 0)
    return total + current, scale


def _han(text: str) -> int:
    """The value of a Chinese numeral.

    >>> [_han(text) for text in ("两千", "一万二千", "八百五十", "十五", "二〇〇〇")]
    [2000, 12000, 850, 15, 2000]
    """
    if not any(one in _HAN_SCALES for one in text):
        return int("".join(str(_HAN[one]) for one in text))
    total = current = digit = 0
    for one in text:
        if one in _HAN:
            digit = _HAN[one]
        elif _HAN_SCALES[one] == 10_000:
            total, current, digit = (total + current + digit) * 10_000, 0, 0
        else:
            current, digit = current + (digit or 1) * _HAN_SCALES[one], 0
    return total + current + digit
