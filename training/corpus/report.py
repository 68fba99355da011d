"""The report of an import: what was found, kept, dropped and why. Nothing in it depends on the time or the machine."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

MADE_BY = "longhand corpus"


class SourceReport(BaseModel):
    """A source file. `skipped` are pages that are no stories ("colophon": 1); with an `error` nothing was read."""

    source: str
    kind: str
    found: int = 0
    kept: int = 0
    dropped: int = 0
    skipped: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    error: str = ""


class AuthorReport(BaseModel):
    author: str
    stories: int
    words: int
    side: Literal["train", "held out"]


class SideReport(BaseModel):
    stories: int
    words: int
    authors: int


class Bar(BaseModel):
    """Stories of `least` to `most` words; the last bar has no `most`."""

    least: int
    most: int | None
    train: int = 0
    held_out: int = 0


class Dropped(BaseModel):
    """A story that was left out. For a duplicate `of` is the id of the one that stayed, `similarity` from 0 to 1."""

    id: str
    source: str
    title: str
    author: str
    words: int
    rule: str
    reason: str
    of: str = ""
    similarity: float | None = None


class CorpusReport(BaseModel):
    made_by: Literal["longhand corpus"] = "longhand corpus"
    found: int
    kept: int
    dropped: int
    train: SideReport
    held_out: SideReport
    held_out_share: float = Field(description="reached, of the stories")
    reasons: dict[str, int]
    languages: dict[str, int]
    sources: list[SourceReport]
    ignored: dict[str, int] = Field(description="files in the folders that are of no known kind, by suffix")
    authors: list[AuthorReport]
    histogram: list[Bar]
    median_words: int
    notes: list[str] = Field(default_factory=list)
    examples: dict[str, list[Dropped]] = Field(default_factory=dict, exclude=True, description="some of each rule")
    seconds: dict[str, float] = Field(default_factory=dict, exclude=True, description="by stage; not written")


def histogram(sizes: list[tuple[int, bool]]) -> list[Bar]:
    """Bars of one round width over (words, held out); the last one takes the few longest of all."""
    if not sizes:
        return []
    ordered = sorted(words for words, _ in sizes)
    reach = ordered[min(len(ordered) - 1, int(len(ordered) * 0.98))]
    width = next(size for size in (100, 200, 250, 500, 1000, 2000, 2500, 5000, 10**9) if reach <= 30 * size)
    count = reach // width + 1
    bars = [Bar(least=number * width, most=(number + 1) * width - 1) for number in range(count)]
    if ordered[-1] >= count * width:
        bars.append(Bar(least=count * width, most=None))
    for words, held_out in sizes:
        bar = bars[min(words // width, len(bars) - 1)]
        bar.held_out += held_out
        bar.train += not held_out
    while bars and not bars[0].train + bars[0].held_out:
        bars.pop(0)
    return bars
