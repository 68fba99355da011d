"""The length that a request names, in words, or in characters for Chinese and Japanese: "about 900 words", "a 2,000-word story", "zweitausend Wörter",
"dos mil palabras", "不少于八百字".

Of several numbers the one for the whole text counts. Left out are numbers of a part ("each paragraph has 100 words"), of a text that is given
("this 3,000-word draft"), and small ones of a detail ("a telegram of nine words"); of the rest the last one counts, since people correct themselves.
Parts are multiplied where the request says how many there are. The time is linear in the length of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import regex

from training.common.numerals import FIGURES, HAN, NUMBER, SPELT, is_foreign, value


class LengthAsked(NamedTuple):
    """Words that are asked for. Both bounds are equal for "about 900 words"; None stands for a bound that is not named."""

    low: int | None
    high: int | None

    @property
    def target(self) -> int:
        """The one number that stands for it: the middle of a range, or the only bound."""
        bounds = [one for one in self if one is not None]
        return sum(bounds) // len(bounds)


_NOUN = r"(?:words?|w(?:ö|oe)rtern?|worten?|wort|mots|palabras|parole|palavras|woorden|слова?)"
_RANGE = (  # duplicate names: whichever form matches
    rf"(?:\b(?:between|zwischen|entre|tra|tussen)\s+(?P<from>{NUMBER})(?:\s+{_NOUN})?\s+(?:and|und|et|y|e|en)\s+"
    rf"|(?P<from>{FIGURES}|{HAN})\s*字?\s*[-–—~～至到]\s*"
    rf"|(?P<from>{NUMBER})(?:\s+{_NOUN})?\s*(?:\b(?:to|bis|à|a|tot)\b|から)\s*)?"
)


_UNIT = (
    r"(?P<unit>\+?(?:\s?\([^()\n]{1,30}\))?[\s-]*(?:(?:or so|odd|total|English|more or less|de|di)\s+)?"
    rf"{_NOUN}\b"
    r"|\s?[多余餘来來]?\s?[个個]?\s?(?:汉字|漢字|文字|单词|單詞|字|词|詞)(?![母符幕典面体體号號節节段成诀訣串眼]))"
)
_MOST = (
    r"at most|(?:no|not) (?:more|longer) than|not (?:to )?exceed(?:ing)?|up to|under|below|(?:less|fewer) than|within|max(?:imum|\.)?(?: length)?(?: of)?|limit(?:ed)?(?: of| to)?"
    r"|höchstens|maximal|nicht (?:mehr|länger) als|bis zu|weniger als|unter|au plus|pas plus de|moins de|jusqu['’]à|como máximo|a lo sumo|no más de|hasta|menos de"
    r"|不得?超[过過出]|不[多大]于|不多於|最多|至多|少于|少於|限"
)
_LEAST = (
    r"at least|(?:no|not) (?:less|fewer|shorter) than|min(?:imum|\.)?(?: length)?(?: of)?|over|more than|above|upwards of|exceed(?:ing)?"
    r"|mindestens|wenigstens|nicht weniger als|mehr als|über|au moins|pas moins de|plus de|al menos|por lo menos|como mínimo|no menos de|más de"
    r"|不[少低]于|不[少低]於|不得少[于於]|至少|最少|起码|超[过過]|多于|多於"
)
_ABOUT = r"(?:about|around|approximately|approx\.?|roughly|some|circa|ca\.|exactly|precisely|only|just|of|a|an|the|etwa|ungefähr|rund|von|environ|unas|unos|de|~|≈|大?[约約]|大概|是|在|[为為]|[:：])"
_BEFORE = rf"(?:(?:\b|(?=\p{{Han}}))(?:(?P<most>{_MOST})|(?P<least>{_LEAST}))\s*(?:{_ABOUT}\s*){{0,2}})?"
_AFTER = (
    r"(?:\s*(?:(?P<most_after>or (?:less|fewer|under|shorter)|max(?:imum)?\b|at (?:the )?most|limit\b|oder weniger|höchstens|(?:au|como) m[aá]xim(?:um|o)|ou moins|o menos|以内|以內|以下|之内|之內|内|內)"
    r"|(?P<least_after>or (?:more|longer)|min(?:imum)?\b|at least|oder mehr|mindestens|(?:au|como) m[ií]nim(?:um|o)|ou plus|o más|以上|起)))?"
)
_MENTION = regex.compile(
    rf"{_BEFORE}{_RANGE}(?P<number>{NUMBER}){_UNIT}{_AFTER}",
    regex.IGNORECASE,
)
_LABEL = regex.compile(
    rf"(?:\bword[\s-]*(?:count|limit|target)|\bwords|\bwort(?:an)?zahl|\bnombre de mots|\bnúmero de palabras|字[数數](?:要求)?)\s*(?:is|of|de|=|[:：])?\s*{_BEFORE}(?:{_ABOUT}\s*){{0,2}}"
    rf"{_RANGE}(?P<number>{NUMBER})(?![\w%])(?P<unit>){_AFTER}",
    regex.IGNORECASE,
)
_PARTS = (
    "chapters?|sections?|parts?|paragraphs?|scenes?|acts?|stanzas?|verses?|lines?|sentences?|titles?|headings?|introductions?|intros?|conclusions?|"
    "abstracts?|summar(?:y|ies)|synops[ie]s|outlines?|prologues?|epilogues?|letters?|entr(?:y|ies)|episodes?|stories|essays|poems|pages?|answers?|"
    "kapiteln?|absatz|absätzen?|abschnitte?n?|szenen?|teile?n?|seiten?|chapitres?|paragraphes?|parties?|scènes?|capítulos?|párrafos?|partes?|escenas?"
)
_COUNTED = regex.compile(
    rf"(?P<count>\d+|{SPELT})\s+(?:[\p{{L}}-]+\s+)?(?:{_PARTS})[\s,]+(?:of|with|at|each(?: of)?|having|de|mit|von|avec|con)?\s*(?:je(?:weils)?\s*)?$",
    regex.IGNORECASE,
)
_EACH_BEFORE = regex.compile(
    r"(?:\b(?:each|every|per|jede[rsmn]?|chaque|cada)\b|每)[^.;!?\n,，。；！？]{0,60}$", regex.IGNORECASE
)
_EACH_AFTER = regex.compile(
    rf"\s*(?:each\b|apiece\b|every\b|chacune?s?\b|cada un[oa]\b|(?:per|a|for each|in each|pro|je|par|por)\s+(?:{_PARTS})\b|(?:per|an?) (?:day|night|hour|minute)\b)",
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
_WHOLE = regex.compile(
    r"\s*(?:long\b|lang\b|insgesamt\b|en tout\b|au total\b|en total\b|in (?:total|all)\b|altogether\b|overall\b)",
    regex.IGNORECASE,
)
_WHOLE_BEFORE = regex.compile(
    r"(?:\b(?:total|whole|entire|overall|altogether|insgesamt)\b|全文|[总總]|共)[^.;!?\n。；！？]{0,40}$",
    regex.IGNORECASE,
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
    number, scale = value(match["number"])
    han = bool(regex.fullmatch(HAN, match["number"]))
    # 四字成语 is an idiom of four characters, and "en deux mots" means "briefly"
    least_said = 10 if han else 5 if is_foreign(match["number"]) else 0
    if not least_said <= number <= 10**7:
        return None
    before, after = text[max(0, match.start() - _NEAR) : match.start()], text[match.end() : match.end() + _NEAR]
    low: int | None = number
    high: int | None = number
    if match["from"]:
        least, own_scale = value(match["from"])
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
        times = value(counted["count"])[0]
        low, high = (None if one is None else one * times for one in (low, high))
        each = False
    elif each:
        return None
    part = not counted and bool(_PART_BEFORE.search(before) or _PART_AFTER.match(after))
    whole = bool(_WHOLE.match(after) or _WHOLE_BEFORE.search(before))
    given = bool(_GIVEN.search(before) or _GIVEN_AFTER.match(after))
    return _Mention(match.start(), LengthAsked(low, high), whole, part, given)
