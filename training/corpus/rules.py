"""Rules that reject a text, each with a name and a reason in one sentence.

They follow Gopher's (arXiv 2112.11446, A.1.1) and C4's (arXiv 1910.10683, 2.2), with limits for fiction that are far outside the
values of the corpus' 1,641 human stories. Rules about words and letters apply only to languages with spaces and capitals.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from training.corpus.profile import Profile
from training.corpus.settings import CorpusSettings


class Rejection(NamedTuple):
    rule: str
    reason: str


_SPEAKER = re.compile(r"(?:\*?([A-Z][\w’'.]*(?: (?:[A-Z][\w’'.]*|and|the|of)){0,3})\*?)(?:\.(?= )|:|(?= [(\[]))")
_SYMBOLS = re.compile(r"[|<>{}\[\]=@^~\\_#%+/]")
_BULLET = re.compile(r"\s*(?:[-•·▪◦*–]\s|\(?\d{1,3}[.)]\s|[a-z][.)]\s)")
_LIST_END = re.compile(r"(?:[ .…,]\d{1,4}(?:[–-]\d{1,4})?(?:, ?\d{1,4})*)\s*$")
_BOILERPLATE = (
    *("all rights reserved", "project gutenberg", "lorem ipsum", "terms of use", "terms of service", "privacy policy"),
    *("licensor", "licensee", "hereby granted", "public domain dedication", "copyright holder", "copyright owner"),
    *("copyright notice", "without warranty", "warranties", "limitation of liability", "javascript", "cookie policy"),
    *("subscribe", "add to cart", "creative commons", "standard ebooks", "isbn", "redistribut", " license", "checkout"),
)
_MOJIBAKE = re.compile(r"â€|Ã[\x80-\xbf©¨ªº¢¤«¶±¼]|Â[\xa0-\xbf]|\ufffd|ï»¿")


def apply_rules(profile: Profile, settings: CorpusSettings) -> Rejection | None:
    """The first rule that rejects the text, or None."""
    if not settings.min_words <= profile.words <= settings.max_words:
        few = profile.words < settings.min_words
        asked = f"at least {settings.min_words:,}" if few else f"at most {settings.max_words:,}"
        return Rejection("too short" if few else "too long", f"It has {profile.words:,} words; required are {asked}.")
    for name, rule in RULES.items():
        if reason := rule(profile):
            return Rejection(name, reason)
    return None


def _language(profile: Profile) -> str:
    claimed = profile.language.split("-")[0].lower()
    if claimed == "en" and (profile.han + profile.kana > 0.3 or profile.stop_words < 0.25):
        if profile.han + profile.kana > 0.3:
            return "It is declared as English, but is written in Chinese or Japanese characters."
        return (
            f"It is declared as English, but only {profile.stop_words:.0%} of its words are common English ones "
            "(the, of, and ...; stories have 40 to 65 %)."
        )
    if claimed in ("zh", "ja") and profile.han + profile.kana < 0.5:
        return f"It is declared as Chinese or Japanese, but only {profile.han + profile.kana:.0%} of its letters are such characters."
    if claimed not in ("en", "zh", "ja", "") and profile.stop_words > 0.4:
        return f"It is declared as another language ({profile.language}), but its words are English."
    return ""


def _letters(profile: Profile) -> str:
    share = profile.letters / profile.visible
    return f"Only {share:.0%} of its characters are letters (stories have at least 80 %)." if share < 0.72 else ""


def _digits(profile: Profile) -> str:
    share = profile.digits / profile.visible
    return f"{share:.0%} of its characters are digits (stories have at most 1 %)." if share > 0.04 else ""


def _symbols(profile: Profile) -> str:
    share = len(_SYMBOLS.findall(profile.text)) / max(1, profile.words)
    return (
        f"It has {share:.0%} as many symbols such as |, <, = and # as words, like code or a table."
        if share > 0.1
        else ""
    )


def _capitals(profile: Profile) -> str:
    share = profile.capitals / max(1, profile.letters)
    return f"{share:.0%} of its letters are capitals (stories have 2 to 8 %)." if share > 0.2 else ""


def _word_length(profile: Profile) -> str:
    if profile.han > 0.3 or not profile.tokens:
        return ""
    mean = (profile.letters + profile.digits) / profile.tokens
    return "" if 3 <= mean <= 7 else f"Its words have {mean:.1f} letters on average (stories have 3.5 to 5)."


def _broken_characters(profile: Profile) -> str:
    share = len(_MOJIBAKE.findall(profile.text)) / max(1, profile.words)
    return (
        f"{share:.1%} of its words contain broken characters: it was read in a wrong encoding." if share > 0.005 else ""
    )


def _repeated_lines(profile: Profile) -> str:
    counts = Counter(profile.lines)
    repeated = sum(len(line) * (count - 1) for line, count in counts.items() if count > 1 and len(line) > 20)
    share = repeated / len(profile.text)
    return f"{share:.0%} of it are repeated lines." if share > 0.25 else ""


def _repeated_runs(profile: Profile) -> str:
    share = profile.repeated
    return f"{share:.0%} of it are runs of eight words that occur more than once." if share > 0.5 else ""


def _contents(profile: Profile) -> str:
    share = sum(bool(_LIST_END.search(line[-60:])) for line in profile.lines) / max(1, len(profile.lines))
    return f"{share:.0%} of its lines end with a number, as in a table of contents or an index." if share > 0.45 else ""


def _list(profile: Profile) -> str:
    share = sum(bool(_BULLET.match(line)) for line in profile.lines) / max(1, len(profile.lines))
    return f"{share:.0%} of its lines begin with a number or a bullet, as in a list." if share > 0.5 else ""


def _unfinished(profile: Profile) -> str:
    share = profile.unfinished
    return f"{share:.0%} of its paragraphs end without punctuation, as in a list." if share > 0.6 else ""


def _verse(profile: Profile) -> str:
    if profile.marked_as == "verse":
        return "Its source marks it as verse."
    inside = sum(
        len(block) for block in profile.paragraphs if "\n" in block and len(block) < 60 * (block.count("\n") + 1)
    )
    share = inside / max(1, len(profile.text))
    return f"{share:.0%} of it is in short lines, like verse." if share > 0.7 else ""


def _play(profile: Profile) -> str:
    if profile.marked_as == "play":
        return "Its source marks it as a play."
    names = Counter(found[1] for line in profile.lines if (found := _SPEAKER.match(line)))
    speakers = {name: count for name, count in names.items() if count >= 4}
    share = sum(speakers.values()) / max(1, len(profile.lines))
    return (
        f"{share:.0%} of its paragraphs begin with the name of a speaker, as in a play."
        if len(speakers) >= 3 and share > 0.7
        else ""
    )


def _boilerplate(profile: Profile) -> str:
    lower = profile.text.lower()
    counts = Counter({phrase.strip(): lower.count(phrase) for phrase in _BOILERPLATE})
    share = 1000 * counts.total() / max(1, profile.words)
    common = " and ".join(f"“{phrase}”" for phrase, _ in counts.most_common(2))
    return (
        f"It reads like a licence or a web page: {share:.0f} phrases such as {common} in 1,000 words."
        if share > 6
        else ""
    )


RULES: dict[str, Callable[[Profile], str]] = {
    "play": _play,
    "verse": _verse,
    "language": _language,
    "broken characters": _broken_characters,
    "few letters": _letters,
    "many digits": _digits,
    "many symbols": _symbols,
    "many capitals": _capitals,
    "word length": _word_length,
    "repeated lines": _repeated_lines,
    "repeated phrases": _repeated_runs,
    "contents or index": _contents,
    "list": _list,
    "no punctuation": _unfinished,
    "boilerplate": _boilerplate,
}
