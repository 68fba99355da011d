"""The report of an import: what was found, kept and rejected, and why. It depends neither on the time nor on the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from training.corpus.record import Record
from training.corpus.settings import CorpusSettings
from training.corpus.sources import Read, Source

MADE_BY = "longhand corpus"
EXAMPLES = 4  # of each rule on the page


class SourceReport(BaseModel):
    """A source file. `skipped` counts pages that are not stories ("colophon": 1); if there is an `error`, nothing was read."""

    source: str
    kind: str
    found: int = 0
    kept: int = 0
    rejected: int = Field(0, validation_alias=AliasChoices("rejected", "dropped"))
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
    """The number of stories with `least` to `most` words on each side; the last bar has no `most`."""

    least: int
    most: int | None
    train: int = 0
    held_out: int = 0


class RejectedStory(BaseModel):
    """A story that was left out. For a duplicate, `of` is the id of the one that was kept, and `similarity` is from 0 to 1."""

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
    rejected: int = Field(validation_alias=AliasChoices("rejected", "dropped"))
    train: SideReport
    held_out: SideReport
    held_out_share: float = Field(description="share of the stories that are held out, as reached")
    reasons: dict[str, int]
    languages: dict[str, int]
    sources: list[SourceReport]
    ignored: dict[str, int] = Field(description="files of unknown kinds in the folders, by suffix")
    authors: list[AuthorReport]
    histogram: list[Bar]
    median_words: int
    notes: list[str] = Field(default_factory=list)
    examples: dict[str, list[RejectedStory]] = Field(
        default_factory=dict, exclude=True, description="some rejected stories for each rule; not written"
    )
    seconds: dict[str, float] = Field(default_factory=dict, exclude=True, description="by stage; not written")


def source_report(source: Source, read: Read) -> SourceReport:
    """The report of a source after reading."""
    skipped = dict(sorted(read.reading.skipped.items()))
    found = len(read.reading.drafts)
    return SourceReport(
        source=source.label, kind=source.kind, found=found, skipped=skipped, notes=read.reading.notes, error=read.error
    )


def corpus_report(
    kept: Sequence[Record],
    rejected: Sequence[RejectedStory],
    sources: list[SourceReport],
    ignored: Counter[str],
    settings: CorpusSettings,
) -> CorpusReport:
    """The report of the whole import. Fills in how many stories of each source were kept and rejected."""
    by_source = Counter(record.source for record in kept)
    rejected_by_source = Counter(one.source for one in rejected)
    for source in sources:
        source.kept, source.rejected = by_source[source.source], rejected_by_source[source.source]
    sides: dict[bool, list[Record]] = {side: [one for one in kept if one.held_out is side] for side in (False, True)}
    authors = Counter(record.author for record in kept)
    reasons = Counter(one.rule for one in rejected)
    examples: dict[str, list[RejectedStory]] = {}
    for one in rejected:
        if len(examples.setdefault(one.rule, [])) < EXAMPLES:
            examples[one.rule].append(one)
    words = sorted(record.story.words for record in kept)
    share = len(sides[True]) / len(kept)
    notes = []
    if settings.held_out_share and not sides[True]:
        notes.append("No story is held out: all stories are connected by their authors and anthologies.")
    elif not settings.held_out_authors and abs(share - settings.held_out_share) > 0.02:
        notes.append(f"{share:.1%} are held out instead of {settings.held_out_share:.1%}: authors are never divided.")
    return CorpusReport.model_validate(
        {
            "found": len(kept) + len(rejected),
            "kept": len(kept),
            "rejected": len(rejected),
            "train": _side(sides[False]),
            "held_out": _side(sides[True]),
            "held_out_share": round(share, 4),
            "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
            "languages": dict(sorted(Counter(record.story.language for record in kept).items())),
            "sources": sources,
            "ignored": dict(sorted(ignored.items())),
            "authors": [
                _author(name, kept) for name, _ in sorted(authors.items(), key=lambda item: (-item[1], item[0]))
            ],
            "histogram": histogram([(record.story.words, record.held_out) for record in kept]),
            "median_words": words[len(words) // 2],
            "notes": notes,
            "examples": examples,
        }
    )


def _side(records: Sequence[Record]) -> SideReport:
    words = sum(record.story.words for record in records)
    return SideReport(stories=len(records), words=words, authors=len({record.author for record in records}))


def _author(name: str, kept: Sequence[Record]) -> AuthorReport:
    own = [record for record in kept if record.author == name]
    words = sum(record.story.words for record in own)
    return AuthorReport(author=name, stories=len(own), words=words, side="held out" if own[0].held_out else "train")


def histogram(sizes: list[tuple[int, bool]]) -> list[Bar]:
    """Bars of one round width for (words, held out) of each story; the last one has the few longest stories."""
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
