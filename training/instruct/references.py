"""Conversations with a reference (Weaver 3.5): some of them get, as additional context, the passage of a corpus most similar to their answer.

    passages       whole paragraphs of the corpus, as vectors (`similar.py`)
    -> rows        in the order of a hash of seed and row, until the share has a passage; the order of the files has no effect
    -> a passage   the most similar one between two bounds, or for some rows an irrelevant one with an unchanged answer, so that a
                   model learns to ignore what is of no use
    -> a template  (`templates.toml`), each in turn, with the passage fenced as material

A passage never reveals the answer: it is not from a text that shares NGRAM consecutive words with the conversation, and rows to train on
get no text that shares them with a held-out row. Weaver's templates are not published, and Weaver mentions no irrelevant passages:
both, the bounds and these exclusions are this project's own.
"""

from __future__ import annotations

import hashlib
import json
import random
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import regex
from pydantic import BaseModel, Field, RootModel, model_validator

from training.common.errors import MendableError
from training.common.text import count_words
from training.corpus.shingles import normalised, run_hashes, word_hashes
from training.datasets import shapes
from training.datasets.card import Table, dataset_card
from training.datasets.jsonl import Conversation, read_jsonl
from training.datasets.stage import stage
from training.instruct.data_settings import ReferencesSettings
from training.instruct.similar import CHUNK, Match, Similar, cut_passages
from training.teacher.fences import fence_of

NGRAM = 8
"""Consecutive words that two texts do not share by chance."""
DRAWS = 64
"""Passages that are drawn to find an irrelevant one."""

Mask = npt.NDArray[np.bool_]


class SourceText(BaseModel):
    """A text of the corpus."""

    text: str = Field(min_length=1)
    id: str = ""
    held_out: bool = False


class Line(RootModel[dict[str, Any]]):
    """A conversation with all the fields that its file has."""

    @model_validator(mode="after")
    def is_conversation(self) -> Line:
        Conversation.model_validate(self.root)
        return self


class Template(NamedTuple):
    key: str
    text: str

    def filled(self, request: str, passage: str) -> str:
        """The template with its placeholders filled in, in one pass: braces in a request or a passage stay as they are."""
        parts = {"{request}": request, "{passage}": passage, "{fence}": fence_of([passage])}
        return regex.sub(r"\{(?:request|passage|fence)\}", lambda found: parts[found[0]], self.text)


@cache
def templates() -> tuple[Template, ...]:
    read = tomllib.loads(Path(__file__).with_name("templates.toml").read_text("utf-8"))
    return tuple(Template(one["key"], one["text"]) for one in read["template"])


@dataclass(frozen=True)
class Row:
    line: dict[str, Any]
    key: str
    """The hash of the seed and the line."""

    @property
    def id(self) -> str:
        return str(self.line.get("id") or self.key[:16])

    @property
    def turns(self) -> list[dict[str, Any]]:
        return list(self.line.get("messages") or [*self.line["prompt"], *self.line["completion"]])

    @property
    def answer(self) -> str:
        return str(self.turns[-1].get("content") or "")

    def can_have_reference(self, min_words: int) -> bool:
        """Whether it has no reference yet, and ends with a request and an answer of at least `min_words` words."""
        turns = self.turns
        if "reference" in self.line or len(turns) < 2 or turns[-2]["role"] != "user" or turns[-1].get("tool_calls"):
            return False
        return count_words(self.answer) >= min_words

    def with_reference(self, template: Template, passage: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The line with the passage added to the last request, and `facts` about it as `reference`."""
        line = deepcopy(self.line)
        request = Row(line, self.key).turns[-2]
        request["content"] = template.filled(request["content"], passage)
        return line | {"reference": dict(facts)}


class Corpus:
    """The passages, and the text that each is from."""

    def __init__(self, texts: Sequence[SourceText], words: int) -> None:
        cut = [(number, passage) for number, one in enumerate(texts) for passage in cut_passages(one.text, words)]
        self.texts = texts
        self._numbers = {one.id: number for number, one in enumerate(texts)}
        self.passages = [passage for _, passage in cut]
        self.text_of = np.asarray([number for number, _ in cut], np.int64)
        self.similar = Similar(self.passages)
        ngrams = [np.unique(_ngrams(one.text)) for one in texts]
        hashes = np.concatenate(ngrams or [np.zeros(0, np.uint64)])
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._text_of_hash = np.repeat(np.arange(len(ngrams)), [len(one) for one in ngrams])[order]

    def related(self, row: Row) -> set[int]:
        """The indices of texts that share NGRAM consecutive words with a conversation, or whose id the row names."""
        found: set[int] = set()
        for message in row.turns:
            hashes = np.unique(_ngrams(str(message.get("content") or "")))
            first, end = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
            for low, high in zip(first[first < end].tolist(), end[first < end].tolist()):
                found.update(self._text_of_hash[low:high].tolist())
        named = {str(row.line[name]) for name in ("id", "story", "story_id") if row.line.get(name)}
        return found | {self._numbers[one] for one in named if one in self._numbers}

    def excluded(self, texts: set[int]) -> Mask:
        """(passages,): whether each passage is from one of these texts."""
        return np.isin(self.text_of, np.fromiter(texts, np.int64, len(texts)))


def references(settings: ReferencesSettings) -> Path:
    """Run the stage. Returns the folder of the data set; raises MendableError if there is no conversation or no passage."""
    parts = {"train": _rows(settings.data, settings.seed), "held_out": _rows(settings.held_out, settings.seed)}
    if not parts["train"]:
        raise MendableError("The data contain no conversation.")
    with stage(settings, settings.run_dir) as at:
        corpus = Corpus(_texts(settings.corpus), settings.passage_words)
        if not corpus.passages:
            raise MendableError(
                "The corpus contains no passage of the requested length: use other texts, or change passage_words."
            )
        at.log.log(f"{len(corpus.passages):,} passages of {len(corpus.texts):,} texts.")
        held_out = {number for number, one in enumerate(corpus.texts) if one.held_out}
        held_out = held_out.union(*(corpus.related(row) for row in parts["held_out"]))
        assignments = {
            name: Assignment(settings, corpus, held_out if name == "train" else set(), rows)
            for name, rows in parts.items()
        }
        files = {name: one.lines() for name, one in assignments.items()}
        without = [line for one in assignments.values() for line in one.without]
        report = _report(corpus, files, [facts for one in assignments.values() for facts in one.assigned], without)
        at.log.log(
            f"{sum(report['given'].values()):,} of {sum(report['rows'].values()):,} conversations have a passage."
        )
        return at.write(files | {"rejected": without}, report, _card(report))


class Assignment:
    """Decides which rows of a file get which passage. Passages of the texts in `forbidden` are never used."""

    def __init__(self, settings: ReferencesSettings, corpus: Corpus, forbidden: set[int], rows: Sequence[Row]) -> None:
        self.settings, self.corpus, self.forbidden, self.rows = settings, corpus, forbidden, rows
        self.assigned: list[dict[str, Any]] = []
        """The facts about each passage, as in its row."""
        self.without: list[dict[str, Any]] = []
        """Rows for which no passage was found; they stay unchanged."""

    def lines(self) -> list[dict[str, Any]]:
        """All rows in their order, some of them with a passage."""
        settings = self.settings
        ranked = sorted(range(len(self.rows)), key=lambda place: self.rows[place].key)
        candidates = [place for place in ranked if self.rows[place].can_have_reference(settings.min_words)]
        total = min(len(candidates), round(settings.share * len(self.rows)))
        irrelevant = round(settings.irrelevant_share * total)
        places = iter(candidates)
        found = [(*one, False) for one in self._take(irrelevant, self._irrelevant(places))]
        found += [(*one, True) for one in self._take(total - len(found), self._relevant(places))]
        lines = [row.line for row in self.rows]
        for (place, passage, helps), template in zip(found, _in_turn(settings.seed)):
            number = passage.passage
            text = self.corpus.texts[self.corpus.text_of[number]].id
            facts = {"template": template.key, "helps": helps, "similarity": passage.similarity, "text": text}
            lines[place] = self.rows[place].with_reference(template, self.corpus.passages[number], facts)
            self.assigned.append(facts)
        return lines

    def _take(self, number: int, found: Iterator[tuple[int, Match | None]]) -> list[tuple[int, Match]]:
        """The first `number` rows for which a passage was found; further rows are not searched."""
        taken: list[tuple[int, Match]] = []
        while len(taken) < number and (one := next(found, None)):
            place, passage = one
            if passage:
                taken.append((place, passage))
            else:
                self.without.append(
                    {"id": self.rows[place].id, "reason": "no_passage", "why": "no passage is within the bounds"}
                )
        return taken

    def _relevant(self, places: Iterator[int]) -> Iterator[tuple[int, Match | None]]:
        while chunk := [place for place, _ in zip(places, range(CHUNK))]:
            texts = self.corpus.similar.vectors(self.rows[place].answer for place in chunk)
            best = self.corpus.similar.best(
                texts, [self._excluded(place) for place in chunk], self.settings.max_similarity
            )
            for place, one in zip(chunk, best):
                yield place, one if one and one.similarity >= self.settings.min_similarity else None

    def _irrelevant(self, places: Iterator[int]) -> Iterator[tuple[int, Match | None]]:
        for place in places:
            row = self.rows[place]
            allowed = np.flatnonzero(~self._excluded(place))
            rng = random.Random(f"{row.key}/unfit")
            drawn = [int(allowed[one]) for one in rng.sample(range(len(allowed)), min(DRAWS, len(allowed)))]
            similarities = self.corpus.similar.similarities(self.corpus.similar.vectors([row.answer]), drawn)
            matches = (Match(one, float(value)) for one, value in zip(drawn, similarities))
            limit = self.settings.irrelevant_similarity
            yield place, next((one for one in matches if one.similarity <= limit), None)

    def _excluded(self, place: int) -> Mask:
        return self.corpus.excluded(self.corpus.related(self.rows[place]) | self.forbidden)


def _in_turn(seed: int) -> Iterator[Template]:
    """Endlessly all templates, each round in a new random order, so that all are used equally often."""
    rng = random.Random(f"{seed}/templates")
    while True:
        yield from rng.sample(templates(), len(templates()))


def _ngrams(text: str) -> npt.NDArray[np.uint64]:
    return run_hashes(word_hashes(normalised(text)), NGRAM)


def _rows(paths: Iterable[Path], seed: int) -> list[Row]:
    found = []
    for _, line in read_jsonl(paths, Line):
        ours = "messages" in line.root or isinstance(line.root.get("prompt"), list)
        root = line.root if ours else shapes.dialogue(line.root)
        canonical = json.dumps([seed, root], ensure_ascii=False, sort_keys=True)
        found.append(Row(root, hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()))
    return found


def _texts(paths: Iterable[Path]) -> list[SourceText]:
    """Each text once, in the order of the hashes."""
    found: dict[str, SourceText] = {}
    for _, line in read_jsonl(paths, SourceText):
        sha256 = hashlib.sha256(line.text.encode("utf-8", "surrogatepass")).hexdigest()
        found.setdefault(sha256, line if line.id else line.model_copy(update={"id": sha256[:16]}))
    return [found[sha256] for sha256 in sorted(found)]


def _report(
    corpus: Corpus, files: Mapping[str, Sequence[Any]], assigned: Sequence[Mapping[str, Any]], without: Sequence[Any]
) -> dict[str, Any]:
    relevant = sorted(one["similarity"] for one in assigned if one["helps"])
    return {
        "texts": len(corpus.texts),
        "passages": len(corpus.passages),
        "rows": {name: len(rows) for name, rows in files.items()},
        "given": {"relevant": len(relevant), "irrelevant": len(assigned) - len(relevant)},
        "similarity": {f"{part}%": relevant[len(relevant) * part // 101] for part in (10, 50, 90) if relevant},
        "templates": dict(sorted(Counter(one["template"] for one in assigned).items())),
        "without": dict(Counter(one["reason"] for one in without)),
    }


def _card(report: Mapping[str, Any]) -> str:
    return dataset_card(
        "Conversations with references",
        "Conversations, some of which have a passage of another text beside the request (`reference` says which, and whether it is relevant). Where it "
        "is irrelevant, the answer is unchanged. `rejected.jsonl` lists the rows for which no passage was found; they are unchanged, too.",
        report,
        Table("Passages", ("rows", "kind"), [(number, kind) for kind, number in report["given"].items()]),
        Table("Templates", ("rows", "template"), [(number, key) for key, number in report["templates"].items()]),
    )  # fmt: skip
