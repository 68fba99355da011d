"""The editors' statistics, compared with counts by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.writer.editorial.test_acts import do, marked
from tests.writer.editorial.test_snapshots import some_pair, voted
from training.common.rubric import DIMENSIONS
from writer.accounts.models import User
from writer.editorial import figures
from writer.editorial.agreement import alpha
from writer.editorial.models import Pair, PrincipleVersion, RubricSheet, Sitting, Take, Violation
from writer.editorial.operations.act import undo
from writer.editorial.pictures import HEIGHT, WIDTH, bars, line
from writer.stories.models import ModelVersion

pytestmark = pytest.mark.django_db


def test_work_that_was_done_and_not_undone(
    take: Take, editor: User, admin: User, version: PrincipleVersion, violation: Violation
) -> None:
    marked(editor, take, version)
    marked(editor, take, version, "sad")
    undo(by=editor, op_id=marked(editor, take, version, "deeply").op_id)
    do(editor, kind="judge_violation", violation=violation.pk, state="accepted")
    do(admin, kind="finish", take=take.pk)
    work = {day.editor: day for day in figures.work_by_day()}
    assert (work[editor.name].marks, work[editor.name].votes, work[editor.name].violations) == (2, 0, 1)
    assert work[editor.name].all == 3
    assert work[admin.name].all == 0


def test_agreement_is_that_of_the_votes(editor: User, admin: User, make_editor: Callable[[], User]) -> None:
    rng = random.Random(5)
    people = [editor, admin, make_editor()]
    units = []
    for number in range(12):
        pair = some_pair(f"Story {number}")
        values = [rng.choice((-2, -1, 0, 1, 2)) for _ in people[: rng.choice((1, 2, 3))]]
        for person, value in zip(people, values):
            voted(pair, person, value, axes={"prose": -value})
        units.append(values)
    gone = some_pair("Undone")
    voted(gone, editor, 2, undone=timezone.now())
    found, over_time = figures.agreement_of_votes()
    overall, prose = found
    assert overall.nominal == pytest.approx(alpha(units, "nominal"))
    assert overall.ordinal == pytest.approx(alpha(units, "ordinal"))
    assert overall.interval == pytest.approx(alpha(units, "interval"))
    assert prose.what == "Prose"
    assert prose.ordinal == pytest.approx(overall.ordinal)
    assert overall.units == sum(len(values) > 1 for values in units)
    assert [month for month, _ in over_time] == [f"{timezone.now():%Y-%m}"]
    assert over_time[0][1] == pytest.approx(overall.ordinal)


def test_agreement_on_a_principle(take: Take, editor: User, admin: User, make_editor: Callable[[], User], version: PrincipleVersion) -> None:  # fmt: skip
    """Two paragraphs: both who marked something marked the second, one of them the first too; a third read on and marked nothing."""
    third = make_editor()
    marked(editor, take, version, "mementos")
    marked(editor, take, version, "sad")
    marked(admin, take, version, "deeply")
    do(third, kind="finish", take=take.pk)
    (found,) = figures.agreement_by_principle()
    assert (found.marks, found.paragraphs) == (3, 2)
    assert found.alpha == pytest.approx(alpha([[1, 0, 0], [1, 1, 0]], "nominal"))
    Sitting.objects.all().delete()
    (alone,) = figures.agreement_by_principle()
    assert alone.alpha == pytest.approx(alpha([[1, 0], [1, 1]], "nominal"))


def test_what_a_model_breaks(take: Take, editor: User, model: ModelVersion, version: PrincipleVersion) -> None:
    other = ModelVersion.objects.create(name="Curlew-9B", served_name="c", tokenizer="c")
    brief = take.brief
    by_model = Take.objects.create(
        brief=brief, text="a b c d", words=4, blocks=1, sha256="x", model=model, words_by={str(model.pk): 4, str(other.pk): 1}
    )  # fmt: skip
    Sitting.objects.create(take=by_model, editor=editor)
    marked(editor, by_model, version, "b c")
    models, broken = figures.broken_by_model()
    assert models == [model.name, other.name]
    assert [(one.key, one.by_model, one.marks) for one in broken] == [("particular-thing", [2500.0, None], 1)]


def test_editors_and_what_to_look_into(editor: User, admin: User) -> None:
    for number in range(6):
        pair = some_pair(f"Gold {number}")
        Pair.objects.filter(pk=pair.pk).update(gold=1)
        voted(pair, editor, -1, seconds=1)
        voted(pair, admin, 2, seconds=60, read_first=0.5, read_second=0.5)
    found = {one.name: one for one in figures.editors()}
    assert found[admin.name].remarks == []
    assert (found[admin.name].gold_right, found[admin.name].read) == (6, 0.5)
    assert len(found[editor.name].remarks) == 2
    assert found[editor.name].gold_right == 0


def test_people_and_judges_side_by_side(take: Take, editor: User, admin: User) -> None:
    assert figures.scores() == []
    sheet: dict[str, Any] = {"scores": {dimension.key: 2 for dimension in DIMENSIONS}, "bonus": 0, "penalty": 1}
    do(editor, kind="rubric", take=take.pk, sheet=sheet)
    do(admin, kind="rubric", take=take.pk, sheet=sheet | {"scores": sheet["scores"] | {"P1": 4}})
    RubricSheet.objects.create(take=take, judge="judge-1", overall=0, sheet=sheet | {"bonus": 3})
    found = {one.key: one for one in figures.scores()}
    assert (found["P1"].people, found["P1"].judges, found["P1"].difference) == (3, 2, -1)
    assert (found["BONUS"].people, found["BONUS"].judges, found["PENALTY"].people) == (0, 3, 1)
    assert found["P2"].alpha is None, "without variation nobody can tell"


def test_the_page_and_who_sees_the_editors(
    take: Take, pair: Pair, editor: User, admin: User, version: PrincipleVersion, sign_in: Callable[..., Client]
) -> None:
    marked(editor, take, version)
    voted(pair, editor, 1)
    assert b"To look into" not in sign_in(editor).get("/desk/agreement").content
    assert b"To look into" in sign_in(admin).get("/desk/agreement").content


def test_no_query_a_row(editor: User, admin: User, sign_in: Callable[..., Client]) -> None:
    client = sign_in(admin)

    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            assert client.get("/desk/agreement").status_code == 200
        return len(caught)

    voted(some_pair("First"), editor, 1)
    few = queries()
    for number in range(30):
        voted(some_pair(f"Story {number}"), editor, 1)
    assert queries() == few


def test_pictures() -> None:
    drawn = bars({date(2026, 3, 2): 4, date(2026, 3, 1): 2}, date(2026, 3, 2), 10, 4)
    assert [bar.height for bar in drawn[-2:]] == [HEIGHT / 2, HEIGHT]
    assert drawn[-1].x + drawn[-1].width <= WIDTH
    assert bars({}, date(2026, 3, 2), 3, 0)[0].height == 0
    points = line([("a", 0.5), ("b", -0.2), ("c", 1.0)])
    assert [(point.x, point.y) for point in points] == [(0, HEIGHT / 2), (WIDTH / 2, HEIGHT), (WIDTH, 0)]
    assert line([("a", 0.5)])[0].x == 0
