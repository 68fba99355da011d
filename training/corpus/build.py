"""Building a corpus from books and files: read, clean and filter, find duplicates, split, write.

The folder `out` appears complete or not at all: it is written under another name and then renamed. The same sources and settings give
the same bytes with any number of processes. Errors of a source are part of the report; the other sources are still read.
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
from training.corpus.filtering import FilteredStory, filter_drafts
from training.corpus.output import check_out, write_corpus
from training.corpus.record import Record
from training.corpus.report import CorpusReport, RejectedStory, SourceReport, corpus_report, source_report
from training.corpus.settings import CorpusSettings
from training.corpus.sources import Read, Source, find_sources, read_source
from training.corpus.split import Links, author_key, author_names, split

T = TypeVar("T")
CHUNK = 24  # stories that a process gets at a time
MAX_CHARACTERS = 1_000_000_000  # of all stories, which are in memory until they are written
UNKNOWN = "Unknown"
_CRASHED = "crashed the process that read it; it may need more memory than is available."


@dataclass(slots=True)
class _Timer:
    """The seconds that each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun


def build_corpus(settings: CorpusSettings, say: Callable[[str], None] = print) -> CorpusReport:
    """Import the sources into the folder `settings.out`, and report progress to `say`.

    Raises MendableError if `out` must not be replaced, if no source can be read, or if no story is left.
    """
    check_out(settings.out, settings.sources)
    timer = _Timer()
    sources, ignored = find_sources(settings.sources)
    if not sources:
        folders = ", ".join(map(str, settings.sources))
        raise MendableError(f"There is no EPUB, DOCX, text or JSONL file in {folders}; name other sources.")
    with timer.stage("read"), _pool(settings.workers) as pool:
        reads = _read_all(sources, pool, say)
    reports = [source_report(source, read) for source, read in zip(sources, reads)]
    if all(report.error for report in reports):
        raise MendableError(_all_failed(sources, reports))
    with (
        timer.stage("clean and filter"),
        _pool(settings.workers) as pool,
    ):  # a new pool: a source may have broken the first
        records = _filter_all(sources, reads, settings, pool, say)
    del reads
    with timer.stage("duplicates"):
        kept, rejected, links = _select(records, settings)
        say(f"{len(kept):,} of {len(records):,} stories are kept; {len(rejected):,} were rejected.")
    if not kept:
        raise MendableError(_none_left(reports, rejected))
    with timer.stage("split"):
        _split(kept, links, settings)
    report = corpus_report(kept, rejected, reports, ignored, settings)
    with timer.stage("write"):
        write_corpus(settings.out, kept, rejected, report)
    report.seconds = timer.seconds
    say(
        f"Written to {settings.out}: {report.train.stories:,} stories to train on, {report.held_out.stories:,} held out."
    )
    return report


@contextmanager
def _pool(workers: int) -> Iterator[Executor | None]:
    """Spawned processes (a fork of a process with threads may hang), or None to work in this process."""
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
        result = (
            f"cannot be read: it {read.error}" if read.error else f"{count:,} {'story' if count == 1 else 'stories'}"
        )
        say(f"[{number}/{len(sources)}] {source.label}: {result}")
        reads.append(read)
    return reads


def _submit(pool: Executor, source: Source) -> Future[Read]:
    try:
        return pool.submit(read_source, source)
    except BrokenProcessPool as broken:  # an earlier source has already crashed a process
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
    ):  # some source crashed its process and broke the pool: a separate process shows whether it was this one
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            try:
                return alone.submit(read_source, source).result()
            except BrokenProcessPool:
                return Read(error=_CRASHED)


def _filter_all(
    sources: Sequence[Source],
    reads: Sequence[Read],
    settings: CorpusSettings,
    pool: Executor | None,
    say: Callable[[str], None],
) -> list[Record]:
    origins = [(source, draft) for source, read in zip(sources, reads) for draft in read.reading.drafts]
    if sum(len(draft.text) for _, draft in origins) > MAX_CHARACTERS:
        raise MendableError(f"The sources contain more than {MAX_CHARACTERS:,} characters; import them in parts.")
    drafts = [draft for _, draft in origins]
    chunks = [drafts[first : first + CHUNK] for first in range(0, len(drafts), CHUNK)]
    say(f"Cleaning and filtering {len(drafts):,} stories.")
    try:
        filtered = [story for chunk in _map(pool, filter_drafts, chunks, settings) for story in chunk]
    except BrokenProcessPool:
        raise MendableError("A process crashed while cleaning stories; set fewer `workers`, or free memory.") from None
    taken: set[str] = set()
    return [
        Record(_id(draft, story, source, taken), source.label, source.path.parent.as_posix(), story, draft.facts)
        for (source, draft), story in zip(origins, filtered)
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


def _id(draft: Draft, story: FilteredStory, source: Source, taken: set[str]) -> str:
    """The id from the source, or one made of author, anthology and title; with a number if it is taken."""
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


def _select(
    records: Sequence[Record], settings: CorpusSettings
) -> tuple[list[Record], list[RejectedStory], list[tuple[Links, Links]]]:
    """The stories to keep, the rejected ones with their reasons, and the links between each duplicate and its original."""
    passed = [record for record in records if record.story.rejection is None]
    prints = [record.story.print for record in passed if record.story.print is not None]
    duplicates = find_duplicates(prints, [record.story.words for record in passed], settings.duplicate_threshold)
    rejected: dict[str, RejectedStory] = {}
    links = []
    for duplicate in duplicates:
        which, of = passed[duplicate.which], passed[duplicate.of]
        rejected[which.id] = _rejected(
            which, f"{duplicate.kind} duplicate", _reason(duplicate, of), of.id, duplicate.similarity
        )
        links.append((which.links, of.links))
        if duplicate.kind in ("exact", "near") and duplicate.similarity >= 0.9:
            of.facts = which.facts | of.facts  # what only the copy has, such as its licence or year
    for record in records:
        if record.story.rejection is not None:
            rejected[record.id] = _rejected(record, *record.story.rejection)
    kept = [record for record in records if record.id not in rejected]
    return kept, [rejected[record.id] for record in records if record.id in rejected], links


def _rejected(record: Record, rule: str, reason: str, of: str = "", similarity: float | None = None) -> RejectedStory:
    story = record.story
    return RejectedStory(
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


def _reason(duplicate: Duplicate, of: Record) -> str:
    other = f"“{of.story.title}” ({of.source})"
    share = "more than 99%" if duplicate.similarity > 0.99 else f"{duplicate.similarity:.0%}"
    return {
        "exact": f"It has exactly the same words as {other}.",
        "near": f"It is nearly the same as {other}: they have {share} of their shingles in common.",
        "contained": f"{share} of it is contained in the longer {other}.",
        "collection": f"{share} of it consists of other stories of the corpus, such as {other}.",
    }[duplicate.kind]


def _split(kept: Sequence[Record], links: Sequence[tuple[Links, Links]], settings: CorpusSettings) -> None:
    """Decide which stories are held out, and spell each author as in the author's first story."""
    sides = split(
        [record.links for record in kept],
        share=settings.held_out_share,
        authors=settings.held_out_authors,
        seed=settings.seed,
        also=links,
    )
    spelling: dict[str, str] = {}
    for record, side in zip(kept, sides):
        record.held_out = side
        names = [spelling.setdefault(author_key(name), name) for name in author_names(record.story.author)]
        record.author = " and ".join(names) or UNKNOWN


def _all_failed(sources: Sequence[Source], reports: Sequence[SourceReport]) -> str:
    first = f"{sources[0].path} {reports[0].error}"
    return first if len(reports) == 1 else f"None of the {len(reports)} sources can be read. The first: {first}"


def _none_left(reports: Sequence[SourceReport], rejected: Sequence[RejectedStory]) -> str:
    if not rejected:
        return f"{reports[0].source} and {len(reports) - 1} other sources contain no story; name others."
    common = Counter(one.rule for one in rejected).most_common(1)[0][0]
    example = next(one for one in rejected if one.rule == common)
    return (
        f"No story is left of {len(rejected):,}. Most were rejected by the rule “{common}”, "
        f"such as “{example.title}” in {example.source}: {example.reason}"
    )
