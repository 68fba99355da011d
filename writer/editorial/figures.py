"""Statistics of the editors' work: amounts, agreement, and the principles that are broken most, by model version.

Each function makes a fixed number of queries; data that grow with votes and marks are grouped in the database, or read as plain rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import fmean
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from training.common.rubric import BY_KEY
from writer.editorial.agreement import (
    EditorAgreement,
    Level,
    alpha,
    alpha_from_counts,
    alpha_interval_from_counts,
    editors_agreement,
)
from writer.editorial.models import AXES, Act, Mark, RubricSheet, Sitting, Take, Vote, VoteSource
from writer.stories.models import ModelVersion

SCALE = (-2, -1, 0, 1, 2)
HURRIED = 1000
"""Words a minute: nobody reads faster than this to judge prose."""
ENOUGH_GOLD, GOLD_RIGHT = 5, 0.6


def blind_votes() -> Any:
    return Vote.objects.filter(source=VoteSource.EDITOR, undone=None, by__isnull=False)


@dataclass(frozen=True)
class Day:
    day: date
    editor: str
    votes: int
    marks: int
    sheets: int
    violations: int

    @property
    def all(self) -> int:
        return self.votes + self.marks + self.sheets + self.violations


def work_by_day(days: int = 30) -> list[Day]:
    """The acts of each editor on each of the last days, without undone ones, the latest first."""
    since = timezone.now() - timedelta(days=days)
    acts = Act.objects.filter(at__gte=since, undone=None)
    rows = (
        acts.annotate(day=TruncDate("at"))
        .values("day", "editor__name")
        .annotate(
            votes=Count("pk", filter=Q(kind__in=("vote", "settle"))),
            marks=Count("pk", filter=Q(kind="mark")),
            sheets=Count("pk", filter=Q(kind="rubric")),
            violations=Count("pk", filter=Q(kind="judge_violation")),
        )
        .order_by("-day", "editor__name")
    )
    return [
        Day(row["day"], row["editor__name"], row["votes"], row["marks"], row["sheets"], row["violations"])
        for row in rows
    ]


@dataclass(frozen=True)
class Agreement:
    what: str
    units: int
    """Units judged by two or more editors."""
    nominal: float | None
    ordinal: float | None
    interval: float | None
    between: tuple[float, float] | None
    """The 95 % interval of the ordinal alpha, by bootstrap over the units."""


def _kinds(values: dict[Any, Counter[int]]) -> Counter[tuple[int, ...]]:
    """Units grouped by how often each value of the scale was given."""
    return Counter(tuple(unit[value] for value in SCALE) for unit in values.values())


def _agreement(what: str, values: dict[Any, Counter[int]]) -> Agreement:
    kinds = _kinds(values)
    levels: tuple[Level, ...] = ("nominal", "ordinal", "interval")
    nominal, ordinal, interval = (alpha_from_counts(SCALE, kinds, level) for level in levels)
    units = sum(count for kind, count in kinds.items() if sum(kind) > 1)
    return Agreement(what, units, nominal, ordinal, interval, alpha_interval_from_counts(SCALE, kinds, "ordinal"))


def agreement_of_votes() -> tuple[list[Agreement], list[tuple[str, float]]]:
    """The agreement on all votes and on each axis, and the ordinal alpha by the month of a pair's first vote."""
    overall: dict[int, Counter[int]] = defaultdict(Counter)
    axes: dict[str, dict[int, Counter[int]]] = {axis: defaultdict(Counter) for axis in AXES}
    first: dict[int, str] = {}
    rows = blind_votes().order_by("created").values_list("pair_id", "preference", "axes", "created")
    for pair, preference, said, created in rows.iterator(chunk_size=10_000):
        overall[pair][preference] += 1
        first.setdefault(pair, f"{created:%Y-%m}")
        for axis, value in said.items():
            axes[axis][pair][value] += 1
    found = [_agreement("Which is better", overall)]
    found += [_agreement(AXES[axis], values) for axis, values in axes.items() if values]
    months: dict[str, dict[int, Counter[int]]] = defaultdict(dict)
    for pair, unit in overall.items():
        months[first[pair]][pair] = unit
    over_time = [(month, alpha_from_counts(SCALE, _kinds(units), "ordinal")) for month, units in sorted(months.items())]
    return found, [(month, value) for month, value in over_time if value is not None]


@dataclass(frozen=True)
class PrincipleAgreement:
    name: str
    key: str
    marks: int
    paragraphs: int
    """Paragraphs that at least one of several readers marked."""
    alpha: float | None


def agreement_by_principle() -> list[PrincipleAgreement]:
    """For each principle, the agreement of readers of the same text on the paragraphs that break it. A unit is a paragraph."""
    readers: dict[int, set[int]] = defaultdict(set)
    for take, editor in Sitting.objects.exclude(done=None).values_list("take_id", "editor_id"):
        readers[take].add(editor)
    marks = Mark.objects.filter(removed=None, by__isnull=False)
    for take, editor in marks.values_list("take_id", "by_id").distinct().order_by():
        readers[take].add(editor)
    several = {take: len(found) for take, found in readers.items() if len(found) > 1}
    blocks = dict(Take.objects.filter(pk__in=several).values_list("pk", "blocks"))
    every: Counter[int] = Counter()
    for take, number in several.items():
        every[number] += blocks[take]
    counts: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
    names: dict[str, str] = {}
    totals: Counter[str] = Counter()
    rows = (
        marks.values_list("version__principle__key", "version__principle__current__name", "take_id", "block")
        .annotate(markers=Count("by", distinct=True), number=Count("pk"))
        .order_by()
    )
    for key, name, take, _, markers, number in rows.iterator(chunk_size=10_000):
        names[key] = name
        totals[key] += number
        if take in several:
            counts[key][several[take] - markers, markers] += 1
    found = []
    for key, name in names.items():
        marked = counts[key].copy()
        for number, paragraphs in every.items():
            touched = sum(count for kind, count in counts[key].items() if sum(kind) == number)
            marked[number, 0] += paragraphs - touched
        value = alpha_from_counts((0, 1), marked, "nominal") if counts[key] else None
        found.append(PrincipleAgreement(name, key, totals[key], sum(counts[key].values()), value))
    return sorted(found, key=lambda one: (-one.marks, one.name))


@dataclass(frozen=True)
class EditorFigures:
    name: str
    votes: int
    agreement: EditorAgreement
    gold: int
    gold_right: int
    words_a_minute: int | None
    read: float | None

    @property
    def percent(self) -> int:
        return round(100 * (self.read or 0))

    @property
    def remarks(self) -> list[str]:
        """Remarks on what should be looked into. They are questions, not judgements."""
        said = []
        if self.agreement.careless:
            said.append("Compared with the votes of others on the same pairs, these votes cannot be told from chance.")
        if self.gold >= ENOUGH_GOLD and self.gold_right < GOLD_RIGHT * self.gold:
            said.append(f"Only {self.gold_right} of {self.gold} pairs with a known answer were judged correctly.")
        if self.words_a_minute is not None and self.words_a_minute > HURRIED:
            said.append(f"Reads {self.words_a_minute:,} words a minute.")
        return said


def editors() -> list[EditorFigures]:
    """All editors who voted, the most active first."""
    votes = blind_votes()
    agreements = editors_agreement(votes.filter(pair__gold=None).values_list("pair_id", "by_id", "preference"))
    right = (
        Q(pair__gold__gt=0, preference__gt=0) | Q(pair__gold__lt=0, preference__lt=0) | Q(pair__gold=0, preference=0)
    )
    rows = (
        votes.values("by_id", "by__name")
        .annotate(
            votes=Count("pk"),
            gold=Count("pk", filter=Q(pair__gold__isnull=False)),
            gold_right=Count("pk", filter=right),
            words=Sum(F("read_first") * F("pair__first__words") + F("read_second") * F("pair__second__words")),
            whole=Sum(F("pair__first__words") + F("pair__second__words")),
            time=Sum("seconds"),
        )
        .order_by("-votes", "by__name")
    )
    unknown = EditorAgreement(shared=0, telling=0, agreement=None, p=None, careless=False)
    return [
        EditorFigures(
            name=row["by__name"],
            votes=row["votes"],
            agreement=agreements.get(row["by_id"], unknown),
            gold=row["gold"],
            gold_right=row["gold_right"],
            words_a_minute=round(60 * row["words"] / row["time"]) if row["words"] and row["time"] else None,
            read=row["words"] / row["whole"] if row["words"] is not None and row["whole"] else None,
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Broken:
    principle: str
    key: str
    by_model: list[float | None]
    """Marks for each 10,000 words that editors read, in the order of the models; None if there is no mark."""
    marks: int


def broken_by_model(most: int = 15) -> tuple[list[str], list[Broken]]:
    """The principles that are broken most, by model version. Words count once for each editor who read the text."""
    words: Counter[int] = Counter()
    sat = Take.objects.filter(Exists(Sitting.objects.filter(take=OuterRef("pk")))).annotate(readers=Count("sittings"))
    for wrote, readers in sat.values_list("words_by", "readers"):
        for model, number in wrote.items():
            words[int(model)] += number * readers
    names = dict(ModelVersion.objects.filter(pk__in=words).order_by("created").values_list("pk", "name"))
    counted = (
        Mark.objects.filter(removed=None, model__in=names)
        .values_list("version__principle__key", "version__principle__current__name", "model_id")
        .annotate(number=Count("pk"))
        .order_by()
    )
    found: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for key, name, model, number in counted:
        found[key, name][model] += number
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))[:most]
    return list(names.values()), [
        Broken(
            name,
            key,
            [10_000 * marks[model] / words[model] if marks[model] and words[model] else None for model in names],
            sum(marks.values()),
        )
        for (key, name), marks in ranked
    ]


@dataclass(frozen=True)
class Scored:
    """A dimension of the rubric, over all scored takes."""

    key: str
    name: str
    most: int
    people: float | None
    judges: float | None
    alpha: float | None
    """The alpha of people, on the interval level."""
    difference: float | None
    """The mean difference of judges and people, on the takes that both scored."""


def scores() -> list[Scored]:
    """The scores of people and judges, for comparison; empty before the first sheet."""
    people: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    judges: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for take, judge, sheet in RubricSheet.objects.filter(removed=None).values_list("take_id", "judge", "sheet"):
        for key, score in (sheet["scores"] | {"BONUS": sheet["bonus"], "PENALTY": sheet["penalty"]}).items():
            (judges if judge else people)[key][take].append(score)
    if not people and not judges:
        return []
    return [
        Scored(
            dimension.key,
            dimension.name,
            dimension.max,
            _mean([score for given in people[key].values() for score in given]),
            _mean([score for given in judges[key].values() for score in given]),
            alpha(people[key].values(), "interval"),
            _mean(
                [fmean(judges[key][take]) - fmean(given) for take, given in people[key].items() if take in judges[key]]
            ),
        )
        for key, dimension in BY_KEY.items()
    ]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
