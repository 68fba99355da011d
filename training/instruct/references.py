"""Conversations with a reference (Weaver 3.5): a share of them gets, as extra context, the passage of a corpus most like their answer.

    passages                whole paragraphs of the corpus, as vectors (`similar.py`)
    -> rows, by a hash      of seed and line, until the share has a passage; the order of the files decides nothing
    -> a passage            most similar between two bounds; for some rows on purpose one that does not fit, with the answer as it was,
                            so that a model learns to leave aside what is no use
    -> a template           (`templates.toml`), each in turn, with the passage fenced: it is material

The passage never gives the answer away: no passage is of a text that shares a run of RUN words with the conversation, and rows to train on
see no text that shares one with a row that is held out. Weaver's templates are not published and it names no passage that does not fit;
both, the bounds and these bars are ours.
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
from training.datasets.card import Table, dataset_card
from training.datasets.jsonl import Conversation, read_jsonl
from training.datasets.stage import stage
from training.instruct.data_settings import ReferencesSettings
from training.instruct.similar import CHUNK, Found, Similar, cut_passages
from training.teacher.fences import fence_of

RUN = 8
"""Words in a row that are no chance."""
DRAWS = 64
"""Passages among which one that does not fit is looked for."""

Bars = npt.NDArray[np.bool_]


class SourceText(BaseModel):
    """A story of the corpus."""

    text: str = Field(min_length=1)
    id: str = ""
    held_out: bool = False


class Line(RootModel[dict[str, Any]]):
    """A conversation as it stands in its file."""

    @model_validator(mode="after")
    def is_one(self) -> Line:
        Conversation.model_validate(self.root)
        return self


class Template(NamedTuple):
    key: str
    text: str

    def filled(self, request: str, passage: str) -> str:
        """Once over, so that braces in a request or a passage are theirs."""
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
    """The hash of seed and line."""

    @property
    def id(self) -> str:
        return str(self.line.get("id") or self.key[:16])

    @property
    def turns(self) -> list[dict[str, Any]]:
        return list(self.line.get("messages") or [*self.line["prompt"], *self.line["completion"]])

    @property
    def answer(self) -> str:
        return str(self.turns[-1].get("content") or "")

    def why_not(self, least_words: int) -> str:
        """Why it can have no reference; empty where it can."""
        turns = self.turns
        if "reference" in self.line:
            return "has_one"
        if len(turns) < 2 or turns[-2]["role"] != "user" or turns[-1].get("tool_calls"):
            return "no_request"
        return "short" if count_words(self.answer) < least_words else ""

    def with_reference(self, template: Template, passage: str, what: Mapping[str, Any]) -> dict[str, Any]:
        """The line with the passage beside the request that the last answer answers."""
        line = deepcopy(self.line)
        request = Row(line, self.key).turns[-2]
        request["content"] = template.filled(request["content"], passage)
        return line | {"reference": dict(what)}


class Corpus:
    """The passages, and which text each is of."""

    def __init__(self, texts: Sequence[SourceText], words: int) -> None:
        cut = [(number, passage) for number, one in enumerate(texts) for passage in cut_passages(one.text, words)]
        self.texts = texts
        self._numbers = {one.id: number for number, one in enumerate(texts)}
        self.passages = [passage for _, passage in cut]
        self.text_of = np.asarray([number for number, _ in cut], np.int64)
        self.similar = Similar(self.passages)
        runs = [np.unique(_runs(one.text)) for one in texts]
        hashes = np.concatenate(runs or [np.zeros(0, np.uint64)])
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._of = np.repeat(np.arange(len(runs)), [len(one) for one in runs])[order]

    def sharing(self, row: Row) -> set[int]:
        """The texts that share a run of words with a conversation, or whose id it names: it was made of them, or they of it."""
        found: set[int] = set()
        for said in row.turns:
            wanted = np.unique(_runs(str(said.get("content") or "")))
            first, end = (np.searchsorted(self._hashes, wanted, side) for side in ("left", "right"))
            for low, high in zip(first[first < end].tolist(), end[first < end].tolist()):
                found.update(self._of[low:high].tolist())
        named = {str(row.line[name]) for name in ("id", "story", "story_id") if row.line.get(name)}
        return found | {self._numbers[one] for one in named if one in self._numbers}

    def barred(self, texts: set[int]) -> Bars:
        return np.isin(self.text_of, np.fromiter(texts, np.int64, len(texts)))


def references(settings: ReferencesSettings) -> Path:
    """Raises MendableError where the data or the corpus hold nothing; the folder of the data set otherwise."""
    parts = {"train": _rows(settings.data, settings.seed), "held_out": _rows(settings.held_out, settings.seed)}
    if not parts["train"]:
        raise MendableError("The data hold no conversation.")
    with stage(settings, settings.run_dir) as at:
        corpus = Corpus(_texts(settings.corpus), settings.passage_words)
        if not corpus.passages:
            raise MendableError(
                "The corpus holds no passage of the asked length: give other texts, or mend passage_words."
            )
        at.log.log(f"{len(corpus.passages):,} passages of {len(corpus.texts):,} texts.")
        kept = {number for number, one in enumerate(corpus.texts) if one.held_out}
        kept = kept.union(*(corpus.sharing(row) for row in parts["held_out"]))
        choosing = {
            name: Choosing(settings, corpus, kept if name == "train" else set(), rows) for name, rows in parts.items()
        }
        files = {name: one.lines() for name, one in choosing.items()}
        dropped = [line for one in choosing.values() for line in one.without]
        found = _report(corpus, files, [what for one in choosing.values() for what in one.given], dropped)
        at.log.log(f"{sum(found['given'].values()):,} of {sum(found['rows'].values()):,} conversations have a passage.")
        return at.write(files | {"dropped": dropped}, found, _card(found))


class Choosing:
    """Which rows of a file get which passage."""

    def __init__(self, settings: ReferencesSettings, corpus: Corpus, kept: set[int], rows: Sequence[Row]) -> None:
        self.settings, self.corpus, self.kept, self.rows = settings, corpus, kept, rows
        self.given: list[dict[str, Any]] = []
        """What is said of each passage in its row."""
        self.without: list[dict[str, Any]] = []
        """Rows that were to have one and stayed as they were."""

    def lines(self) -> list[dict[str, Any]]:
        settings = self.settings
        ranked = sorted(range(len(self.rows)), key=lambda place: self.rows[place].key)
        able = [place for place in ranked if not self.rows[place].why_not(settings.least_words)]
        wanted = min(len(able), round(settings.share * len(self.rows)))
        unfit = round(settings.unhelpful * wanted)
        places = iter(able)
        found = [(*one, False) for one in self._taken(unfit, self._unfit(places))]
        found += [(*one, True) for one in self._taken(wanted - len(found), self._fitting(places))]
        lines = [row.line for row in self.rows]
        for (place, passage, helps), template in zip(found, _in_turn(settings.seed)):
            number = passage.passage
            text = self.corpus.texts[self.corpus.text_of[number]].id
            what = {"template": template.key, "helps": helps, "similarity": passage.similarity, "text": text}
            lines[place] = self.rows[place].with_reference(template, self.corpus.passages[number], what)
            self.given.append(what)
        return lines

    def _taken(self, number: int, found: Iterator[tuple[int, Found | None]]) -> list[tuple[int, Found]]:
        """The first so many that found something. No more are looked at than that takes."""
        taken: list[tuple[int, Found]] = []
        while len(taken) < number and (one := next(found, None)):
            place, passage = one
            if passage:
                taken.append((place, passage))
            else:
                self.without.append(
                    {"id": self.rows[place].id, "reason": "no_passage", "why": "no passage is within the bounds"}
                )
        return taken

    def _fitting(self, places: Iterator[int]) -> Iterator[tuple[int, Found | None]]:
        while chunk := [place for place, _ in zip(places, range(CHUNK))]:
            texts = self.corpus.similar.vectors(self.rows[place].answer for place in chunk)
            best = self.corpus.similar.best(
                texts, [self._barred(place) for place in chunk], self.settings.most_similarity
            )
            for place, one in zip(chunk, best):
                yield place, one if one and one.similarity >= self.settings.least_similarity else None

    def _unfit(self, places: Iterator[int]) -> Iterator[tuple[int, Found | None]]:
        for place in places:
            row = self.rows[place]
            open_to = np.flatnonzero(~self._barred(place))
            rng = random.Random(f"{row.key}/unfit")
            drawn = [int(open_to[one]) for one in rng.sample(range(len(open_to)), min(DRAWS, len(open_to)))]
            likeness = self.corpus.similar.likeness(self.corpus.similar.vectors([row.answer]), drawn)
            few = [
                Found(one, float(value))
                for one, value in zip(drawn, likeness)
                if value <= self.settings.unfit_similarity
            ]
            yield place, few[0] if few else None

    def _barred(self, place: int) -> Bars:
        return self.corpus.barred(self.corpus.sharing(self.rows[place]) | self.kept)


def _in_turn(seed: int) -> Iterator[Template]:
    """All templates as often, in an order that no count of rows keeps step with."""
    rng = random.Random(f"{seed}/templates")
    while True:
        yield from rng.sample(templates(), len(templates()))


def _runs(text: str) -> npt.NDArray[np.uint64]:
    return run_hashes(word_hashes(normalised(text)), RUN)


def _rows(paths: Iterable[Path], seed: int) -> list[Row]:
    found = []
    for _, line in read_jsonl(paths, Line):
        canonical = json.dumps([seed, line.root], ensure_ascii=False, sort_keys=True)
        found.append(Row(line.root, hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()))
    return found


def _texts(paths: Iterable[Path]) -> list[SourceText]:
    """Each text once, by the order of their hashes."""
    found: dict[str, SourceText] = {}
    for _, line in read_jsonl(paths, SourceText):
        sha256 = hashlib.sha256(line.text.encode("utf-8", "surrogatepass")).hexdigest()
        found.setdefault(sha256, line if line.id else line.model_copy(update={"id": sha256[:16]}))
    return [found[sha256] for sha256 in sorted(found)]


def _report(
    corpus: Corpus, files: Mapping[str, Sequence[Any]], given: Sequence[Mapping[str, Any]], dropped: Sequence[Any]
) -> dict[str, Any]:
    fitting = sorted(one["similarity"] for one in given if one["helps"])
    return {
        "texts": len(corpus.texts),
        "passages": len(corpus.passages),
        "rows": {name: len(rows) for name, rows in files.items()},
        "given": {"fits": len(fitting), "does_not_fit": len(given) - len(fitting)},
        "similarity": {f"{part}%": fitting[len(fitting) * part // 101] for part in (10, 50, 90) if fitting},
        "templates": dict(sorted(Counter(one["template"] for one in given).items())),
        "without": dict(Counter(one["reason"] for one in dropped)),
    }


def _card(found: Mapping[str, Any]) -> str:
    return dataset_card(
        "Conversations with references",
        "Conversations, of which some have a passage of another text beside the request (`reference` says which, and whether it fits). Where it does "
        "not fit, the answer is the same all the same. `dropped.jsonl` names the rows that were to have a passage and stayed as they were.",
        found,
        Table("Passages", ("rows", "kind"), [(number, kind) for kind, number in found["given"].items()]),
        Table("Templates", ("rows", "template"), [(number, key) for key, number in found["templates"].items()]),
    )  # fmt: skip
