"""From anthologies to a corpus: read, clean and judge, find duplicates, split, write.

The folder `out` appears whole or not at all: it is written beside its place and put there by a rename. The same sources and
settings make the same bytes, with any number of processes. What one source has wrong stands in the report; the others go on.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import regex

from training.common.errors import MendableError
from training.corpus.drafts import Draft
from training.corpus.duplicates import Duplicate, find_duplicates
from training.corpus.judged import Judged, judge_drafts
from training.corpus.output import check_out, write_corpus
from training.corpus.record import Record
from training.corpus.report import AuthorReport, CorpusReport, Dropped, SideReport, SourceReport, histogram
from training.corpus.settings import CorpusSettings
from training.corpus.sources import Read, Source, find_sources, read_source
from training.corpus.split import Tie, author_key, author_names, split

T = TypeVar("T")
CHUNK = 24  # stories that a process is given at a time
MOST_CHARACTERS = 1_000_000_000  # of all stories: they are held in memory until they are written
UNKNOWN = "Unknown"
_DIED = "made the process that read it die; it may need more memory than there is."


@dataclass(slots=True)
class _Stages:
    """Says what happens and keeps how long it took."""

    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun


def build_corpus(settings: CorpusSettings, say: Callable[[str], None] = print) -> CorpusReport:
    """Import the sources into the folder `settings.out`.

    Raises MendableError where nothing can be made: `out` is not ours to replace, no source can be read, no story is left.
    """
    check_out(settings.out, settings.sources)
    stages = _Stages(say)
    sources, ignored = find_sources(settings.sources)
    if not sources:
        folders = ", ".join(map(str, settings.sources))
        raise MendableError(f"There is no EPUB, DOCX, text or JSONL file in {folders}; name other sources.")
    with stages.stage("read"), _pool(settings.workers) as pool:
        reads = _read_all(sources, pool, say)
    reports = [_source_report(source, read) for source, read in zip(sources, reads)]
    if all(report.error for report in reports):
        raise MendableError(_all_failed(sources, reports))
    with (
        stages.stage("clean and judge"),
        _pool(settings.workers) as pool,
    ):  # a new one: a source may have broken the first
        records = _judge_all(sources, reads, settings, pool, say)
    del reads
    with stages.stage("duplicates"):
        kept, dropped, ties = _sift(records, settings)
        say(f"{len(kept):,} stories of {len(records):,} are left; {len(dropped):,} were dropped.")
    if not kept:
        raise MendableError(_none_left(reports, dropped))
    with stages.stage("split"):
        _split(kept, ties, settings)
    report = _report(kept, dropped, reports, ignored, settings)
    with stages.stage("write"):
        write_corpus(settings.out, kept, dropped, report)
    report.seconds = stages.seconds
    say(
        f"Written to {settings.out}: {report.train.stories:,} stories to train on, {report.held_out.stories:,} held out."
    )
    return report


@contextmanager
def _pool(workers: int) -> Iterator[Executor | None]:
    """Processes that start afresh (a fork of a process with threads may hang), or None for work in this process."""
    if workers == 1:
        yield None
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def _read_all(sources: Sequence[Source], pool: Executor | None, say: Callable[[str], None]) -> list[Read]:
    reads: list[Read] = []
    waiting = [_submit(pool, source) if pool else None for source in sources]
    for number, (source, future) in enumerate(zip(sources, waiting), 1):
        read = _read_one(source, future)
        count = len(read.reading.drafts)
        told = f"cannot be read: it {read.error}" if read.error else f"{count:,} {'story' if count == 1 else 'stories'}"
        say(f"[{number}/{len(sources)}] {source.label}: {told}")
        reads.append(read)
    return reads


def _submit(pool: Executor, source: Source) -> Future[Read]:
    try:
        return pool.submit(read_source, source)
    except BrokenProcessPool as broken:  # an earlier source was so quick about it
        future: Future[Read] = Future()
        future.set_exception(broken)
        return future


def _read_one(source: Source, future: Future[Read] | None) -> Read:
    if future is None:
        return read_source(source)
    try:
        return future.result()
    except (
        BrokenProcessPool
    ):  # some source killed its process, and with it the pool: which one, a process of its own shows
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            try:
                return alone.submit(read_source, source).result()
            except BrokenProcessPool:
                return Read(error=_DIED)


def _judge_all(
    sources: Sequence[Source],
    reads: Sequence[Read],
    settings: CorpusSettings,
    pool: Executor | None,
    say: Callable[[str], None],
) -> list[Record]:
    origins = [(source, draft) for source, read in zip(sources, reads) for draft in read.reading.drafts]
    if sum(len(draft.text) for _, draft in origins) > MOST_CHARACTERS:
        raise MendableError(f"The sources hold more than {MOST_CHARACTERS:,} characters; import them in parts.")
    drafts = [draft for _, draft in origins]
    chunks = [drafts[first : first + CHUNK] for first in range(0, len(drafts), CHUNK)]
    say(f"Cleaning and judging {len(drafts):,} stories.")
    try:
        judged = [story for chunk in _map(pool, judge_drafts, chunks, settings) for story in chunk]
    except BrokenProcessPool:
        raise MendableError("A process died while it cleaned stories; set fewer `workers`, or free memory.") from None
    taken: set[str] = set()
    return [
        Record(_id(draft, story, source, taken), source.label, source.path.parent.as_posix(), story, draft.facts)
        for (source, draft), story in zip(origins, judged)
    ]


def _map(
    pool: Executor | None,
    work: Callable[[list[Draft], CorpusSettings], T],
    chunks: Sequence[list[Draft]],
    settings: CorpusSettings,
) -> Iterator[T]:
    if pool is None:
        return (work(chunk, settings) for chunk in chunks)
    return pool.map(work, chunks, [settings] * len(chunks))


def _id(draft: Draft, story: Judged, source: Source, taken: set[str]) -> str:
    """The id that the source gives, else one made of author, anthology and title; a number is added where it is taken."""
    anthology = story.anthology.removeprefix(f"{story.author}: ")
    book = "_".join(filter(None, (_slug(story.author), _slug(anthology)))) or _slug(source.path.stem)
    wanted = draft.id or f"{book}/{_slug(story.title)}"
    found, number = wanted, 1
    while found in taken:
        number += 1
        found = f"{wanted}-{number}"
    taken.add(found)
    return found


def _slug(name: str) -> str:
    return regex.sub(r"[^\p{L}\p{N}]+", "-", name.lower().replace("’", "").replace("'", "")).strip("-")[:80]


def _sift(
    records: Sequence[Record], settings: CorpusSettings
) -> tuple[list[Record], list[Dropped], list[tuple[Tie, Tie]]]:
    """Those that stay, those that go with the reason, and which stories belong together because one was the other's copy."""
    passed = [record for record in records if record.story.verdict is None]
    prints = [record.story.print for record in passed if record.story.print is not None]
    duplicates = find_duplicates(prints, [record.story.words for record in passed], settings.duplicate_threshold)
    gone: dict[str, Dropped] = {}
    ties = []
    for duplicate in duplicates:
        which, of = passed[duplicate.which], passed[duplicate.of]
        gone[which.id] = _dropped(
            which, f"{duplicate.kind} duplicate", _because(duplicate, of), of.id, duplicate.similarity
        )
        ties.append((which.tie, of.tie))
        if duplicate.kind in ("exact", "near") and duplicate.similarity >= 0.9:
            of.facts = which.facts | of.facts  # what only the copy knew: its licence, its year
    for record in records:
        if record.story.verdict is not None:
            gone[record.id] = _dropped(record, *record.story.verdict)
    kept = [record for record in records if record.id not in gone]
    return kept, [gone[record.id] for record in records if record.id in gone], ties


def _dropped(record: Record, rule: str, reason: str, of: str = "", similarity: float | None = None) -> Dropped:
    story = record.story
    return Dropped(
        id=record.id,
        source=record.source,
        title=story.title,
        author=story.author,
        words=story.words,
        rule=rule,
        reason=reason,
        of=of,
        similarity=None if similarity is None else round(similarity, 4),
    )


def _because(duplicate: Duplicate, of: Record) -> str:
    other = f"“{of.story.title}” ({of.source})"
    share = "more than 99%" if duplicate.similarity > 0.99 else f"{duplicate.similarity:.0%}"
    return {
        "exact": f"It is word for word the same as {other}.",
        "near": f"It is nearly the same as {other}: they share {share} of their runs of words.",
        "contained": f"{share} of it stand in the longer {other}.",
        "collection": f"{share} of it are other stories that stand here one by one, such as {other}.",
    }[duplicate.kind]


def _split(kept: Sequence[Record], ties: Sequence[tuple[Tie, Tie]], settings: CorpusSettings) -> None:
    """Decide who is held out, and give each author one spelling: that of the first story."""
    sides = split(
        [record.tie for record in kept],
        share=settings.held_out_share,
        authors=settings.held_out_authors,
        seed=settings.seed,
        also=ties,
    )
    spelled: dict[str, str] = {}
    for record, side in zip(kept, sides):
        record.held_out = side
        names = [spelled.setdefault(author_key(name), name) for name in author_names(record.story.author)]
        record.author = " and ".join(names) or UNKNOWN


def _source_report(source: Source, read: Read) -> SourceReport:
    skipped = dict(sorted(read.reading.skipped.items()))
    found = len(read.reading.drafts)
    return SourceReport(
        source=source.label, kind=source.kind, found=found, skipped=skipped, notes=read.reading.notes, error=read.error
    )


def _all_failed(sources: Sequence[Source], reports: Sequence[SourceReport]) -> str:
    first = f"{sources[0].path} {reports[0].error}"
    return first if len(reports) == 1 else f"None of the {len(reports)} sources can be read. The first: {first}"


def _none_left(reports: Sequence[SourceReport], dropped: Sequence[Dropped]) -> str:
    if not dropped:
        return f"{reports[0].source} and {len(reports) - 1} more sources hold no story; name others."
    common = Counter(one.rule for one in dropped).most_common(1)[0][0]
    example = next(one for one in dropped if one.rule == common)
    return (
        f"No story is left of {len(dropped):,}. Most were dropped by the rule “{common}”, "
        f"as “{example.title}” in {example.source}: {example.reason}"
    )


def _report(
    kept: Sequence[Record],
    dropped: Sequence[Dropped],
    sources: list[SourceReport],
    ignored: Counter[str],
    settings: CorpusSettings,
) -> CorpusReport:
    by_source = Counter(record.source for record in kept)
    gone = Counter(one.source for one in dropped)
    for source in sources:
        source.kept, source.dropped = by_source[source.source], gone[source.source]
    sides: dict[bool, list[Record]] = {side: [one for one in kept if one.held_out is side] for side in (False, True)}
    people = Counter(record.author for record in kept)
    reasons = Counter(one.rule for one in dropped)
    examples: dict[str, list[Dropped]] = {}
    for one in dropped:
        if len(examples.setdefault(one.rule, [])) < 4:
            examples[one.rule].append(one)
    words = sorted(record.story.words for record in kept)
    share = len(sides[True]) / len(kept)
    notes = []
    if settings.held_out_share and not sides[True]:
        notes.append("Nothing is held out: all stories hang together through their authors and anthologies.")
    elif not settings.held_out_authors and abs(share - settings.held_out_share) > 0.02:
        notes.append(f"{share:.1%} are held out instead of {settings.held_out_share:.1%}: authors are never divided.")
    return CorpusReport(
        found=len(kept) + len(dropped),
        kept=len(kept),
        dropped=len(dropped),
        train=_side(sides[False]),
        held_out=_side(sides[True]),
        held_out_share=round(share, 4),
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        languages=dict(sorted(Counter(record.story.language for record in kept).items())),
        sources=sources,
        ignored=dict(sorted(ignored.items())),
        authors=[_author(name, kept) for name, _ in sorted(people.items(), key=lambda item: (-item[1], item[0]))],
        histogram=histogram([(record.story.words, record.held_out) for record in kept]),
        median_words=words[len(words) // 2],
        notes=notes,
        examples=examples,
    )


def _side(records: Sequence[Record]) -> SideReport:
    words = sum(record.story.words for record in records)
    return SideReport(stories=len(records), words=words, authors=len({record.author for record in records}))


def _author(name: str, kept: Sequence[Record]) -> AuthorReport:
    own = [record for record in kept if record.author == name]
    words = sum(record.story.words for record in own)
    return AuthorReport(author=name, stories=len(own), words=words, side="held out" if own[0].held_out else "train")
