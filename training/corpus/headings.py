"""Classifies the pages under a heading: a publisher's page, a chapter, or a story with a name."""

from __future__ import annotations

import regex

PAGES = {  # `epub:type` and ARIA role -> a plain name
    "cover": "cover",
    "titlepage": "title page",
    "halftitlepage": "half title",
    "imprint": "imprint",
    "colophon": "colophon",
    "copyright-page": "copyright page",
    "toc": "contents",
    "landmarks": "contents",
    "loi": "list of illustrations",
    "lot": "contents",
    "dedication": "dedication",
    "epigraph": "epigraph",
    "foreword": "foreword",
    "preface": "preface",
    "introduction": "introduction",
    "afterword": "afterword",
    "acknowledgments": "acknowledgements",
    "endnotes": "notes",
    "footnotes": "notes",
    "rearnotes": "notes",
    "bibliography": "bibliography",
    "glossary": "glossary",
    "index": "index",
    "contributors": "credits",
    "other-credits": "credits",
    "errata": "errata",
    "credits": "credits",
}
_PAGE_WORDS = [
    (r"(?:table of )?contents|list of (?:stories|illustrations)|目[录錄次]", "contents"),
    (r"(?:un)?copyright(?: page| notice)?|版[权權](?:[页頁信])?.*", "copyright page"),
    (r"cover|封面", "cover"),
    (r"title ?-?page|half ?-?title(?: page)?|扉[页頁]", "title page"),
    (r"imprint|colophon", "colophon"),
    (r"dedication|献辞", "dedication"),
    (r"epigraph", "epigraph"),
    ((r"(?:fore|after)words?(?: (?:by|to)\b.*)?|preface(?: (?:by|to)\b.*)?|(?:editor|author|translator|publisher)['’]?s['’]? (?:note|preface)"
     r"|(?:general )?introduction(?: (?:by|to)\b.*)?|introductory(?: note)?|a note on .*|(?:自|原)?序(?:言)?|前言|[后後][记記]|跋"), "foreword"),
    (r"acknowledge?ments?|permissions|credits|praise for .*|致谢", "acknowledgements"),
    ((r"about (?:the|this) (?:authors?|book|editors?|publishers?|translators?|e-?book)|also by .*|(?:other )?(?:books|works|titles) by .*"
     r"|by the same author|newsletter|advertisements?|sign up .*|关于作者|作者简介"), "publisher's page"),
    (r"(?:end|foot)?notes|bibliography|glossary|index|errata|appendix(?: [a-z0-9]+)?|注[释釋]", "notes"),
    (r"(?:the )?(?:full )?project gutenberg(?:-tm|™)? licen[cs]e.*|transcriber['’]?s['’]? notes?.*", "licence"),
]  # fmt: skip
_PAGE = [(regex.compile(words, regex.IGNORECASE), name) for words, name in _PAGE_WORDS]
_NUMBER = (
    r"(?:\d{1,3}|[ivxlc]{1,8}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    r"|sixteen|seventeen|eighteen|nineteen|twenty|first|second|third|fourth|fifth|sixth|seventh|last)"
)
_CHAPTER = regex.compile(
    rf"(?:(?:chapter|part|book|section|scene|act|canto|episode|day|letter)\s+(?:the\s+)?{_NUMBER}\b.*"
    rf"|{_NUMBER}[.:)—–-]?|{_NUMBER}[.:)]\s.*|(?:the\s+)?(?:prologue|epilogue|conclusion|interlude|postscript|finis)\b.{{0,30}}"
    r"|第\s*[0-9一二三四五六七八九十百零〇两]+\s*[章回节節部幕].*|[一二三四五六七八九十]{1,3}[、.．]?|[（(][一二三四五六七八九十0-9]{1,3}[)）]|楔子|尾[声聲])",
    regex.IGNORECASE,
)
_ORDINAL = regex.compile(
    r"(?:(?:chapter|story|tale|part)\s+)?(?:\d{1,3}|[IVXLC]{1,8})\s*[.:)—–]\s*(?=\S)|第\s*\S{1,4}\s*[篇章]\s*(?=\S)",
    regex.IGNORECASE,
)
_SMALL = {"a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "nor", "of", "on", "or", "the", "to", "with"}
BYLINE = regex.compile(
    r"(?i:\[?\(?\s*by)[:\s]+(?P<name>\p{Lu}[\p{L}.’'‐-]*(?:[ ,]+(?:(?:de|du|la|le|von|van|der|den|of|and|&|y|e)\b|\p{Lu}[\p{L}.’'‐-]*)){0,7})[\])]?"
)


def page_name(heading: str) -> str:
    """Return the kind of publisher's page that has this heading; "" for none.

    >>> page_name("About the Author"), page_name("The Dead")
    ("publisher's page", '')
    """
    text = " ".join(heading.split()).strip(" .:*—-[]")
    for pattern, name in _PAGE:
        if pattern.fullmatch(text):
            return name
    return ""


def is_chapter(heading: str) -> bool:
    """Whether a heading numbers a part of a story.

    >>> [is_chapter(heading) for heading in ("IV", "Chapter 2: The Search", "第三章", "The Third Man")]
    [True, True, True, False]
    """
    return bool(_CHAPTER.fullmatch(" ".join(heading.split()).strip(" .*")))


def is_numbered_name(heading: str) -> bool:
    """Whether a heading has a number and a name, such as "II: The Search". In a collection, such a heading can be a story."""
    return is_chapter(heading) and bool(_ORDINAL.match(heading.strip()))


def clean_title(heading: str) -> str:
    """Return a title without its number and markup, and not in capitals.

    >>> clean_title("III. THE GIFT OF THE MAGI.")
    'The Gift of the Magi'
    """
    title = " ".join(heading.replace("*", "").replace("_", "").split())
    bare = _ORDINAL.sub("", title, count=1) if _ORDINAL.match(title) else title
    title = bare if any(letter.isalpha() for letter in bare) else title
    title = title.strip(" ,;:—")
    if title.endswith(".") and not title.endswith("..") and not regex.search(r"\b\p{Lu}[\p{L}]{0,2}\.$", title.title()):
        title = title[:-1]
    letters = [letter for letter in title if letter.isalpha()]
    if (
        len(letters) > 3
        and all(letter.upper() == letter for letter in letters)
        and any(x.lower() != x for x in letters)
    ):
        words = title.split()
        title = " ".join(
            word.lower() if number and word.lower() in _SMALL and not words[number - 1].endswith((":", "—"))
            else _capital(word)
            for number, word in enumerate(words)
        )  # fmt: skip
    return title[:200]


def _capital(word: str) -> str:
    if regex.fullmatch(r"[IVXLC]+[.:]?", word):
        return word
    return "-".join(
        regex.sub(r"\p{L}", lambda found: found.group().upper(), part.lower(), count=1) for part in word.split("-")
    )


def byline(paragraph: str) -> str:
    """Return the name in a line such as "By Edgar Allan Poe"; "" if the line is no byline.

    >>> byline("By EDGAR ALLAN POE"), byline("By noon the rain had stopped.")
    ('Edgar Allan Poe', '')
    """
    found = BYLINE.fullmatch(" ".join(paragraph.replace("*", "").replace("_", "").split()).rstrip(".,"))
    return clean_name(found["name"]) if found and len(found["name"].split()) <= 8 else ""


def clean_name(name: str) -> str:
    """Return a person's name without "by", without line breaks, and not in capitals."""
    name = regex.sub(r"^(?i:by|von|par)[:\s]+(?=\p{Lu})", "", " ".join(name.replace("*", "").split())).strip(" ,;:")
    if name.upper() == name and name.lower() != name:
        name = regex.sub(r"\p{Lu}{2,}", lambda found: found.group().capitalize(), name)
    return name[:120]
