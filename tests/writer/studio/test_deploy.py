"""Deployments: requested, switched, rolled back; and the constraints of the database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import Error as DatabaseError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.writer.studio.conftest import report
from writer.accounts.models import AuditEvent, User
from writer.refusals import NotNow, Refused
from writer.stories.models import Deployment, DeploymentState, ModelVersion
from writer.stories.operations.create_story import create_story
from writer.stories.operations.deploy import in_service, serving_at
from writer.stories.operations.start_generation import start_generation
from writer.studio.gate import gate_of
from writer.studio.models import Evaluation, EvaluationState
from writer.studio.operations.deploy import give_up, promote, roll_back, switch, switch_failed
from writer.studio.wanted import wanted_versions

pytestmark = pytest.mark.django_db


def test_from_candidate_to_service_and_back(
    model: ModelVersion, candidate: ModelVersion, admin: User, owner: User, open_gate: Callable[[ModelVersion], None]
) -> None:
    open_gate(candidate)
    before = timezone.now()
    asked = promote(by=admin, version_id=candidate.pk)
    assert in_service() == model, "nothing changes before the version has shown that it writes"
    assert switch(asked.pk, proof="The lamp was lit.")
    assert in_service() == candidate
    story = create_story(owner=owner, title="The Lamp", premise="A keeper.", target_words=300)
    assert start_generation(user=owner, story_id=story.pk).model == candidate
    assert {model.pk, candidate.pk} <= wanted_versions().keys(), "the one before stays loaded"

    back = roll_back(by=admin, reason="It rambles.")
    assert switch(back.pk, proof="The lamp.")
    assert in_service() == model
    ledger = Deployment.objects.order_by("began").values_list("version__name", "state")
    assert list(ledger) == [("demo model", "ended"), (candidate.name, "ended"), ("demo model", "serving")]
    assert serving_at(before).version == model  # type: ignore[union-attr]
    acts = list(AuditEvent.objects.filter(act__startswith="version.").order_by("pk").values_list("act", "who"))
    assert acts == [
        ("version.promote", admin.name), ("version.in_service", "the site"),
        ("version.rollback", admin.name), ("version.in_service", "the site"),
    ]  # fmt: skip


def test_the_gate(
    model: ModelVersion, candidate: ModelVersion, admin: User, open_gate: Callable[[ModelVersion], None]
) -> None:
    gate = gate_of(candidate)
    assert not gate.passed
    assert len(gate.reasons) == 2
    with pytest.raises(NotNow, match="has no report"):
        promote(by=admin, version_id=candidate.pk)
    with pytest.raises(Refused, match="Give a reason"):
        promote(by=admin, version_id=candidate.pk, overrule=True, reason="because")
    asked = promote(by=admin, version_id=candidate.pk, overrule=True, reason="The editors like it better already.")
    assert asked.grounds["overruled"] is True
    switch_failed(asked.pk, "It does not load.")
    open_gate(candidate)
    assert gate_of(candidate).passed
    Evaluation.objects.create(
        version=candidate,
        against=model,
        state=EvaluationState.READY,
        report=report(low=0.15, high=0.3),
        finished=timezone.now(),
    )
    assert "worse by its report" in gate_of(candidate).reasons[0]


def test_two_admins_promote_at_once(
    model: ModelVersion, candidate: ModelVersion, admin: User, make_editor: Callable[[], User], transactional_db: None
) -> None:
    other = ModelVersion.objects.create(
        name="other", served_name="other", tokenizer="x", parent=model, folder="runs/2", sha256="1" * 64
    )
    people = [admin, make_editor()]

    def ask(number: int) -> str:
        try:
            promote(
                by=people[number], version_id=(candidate, other)[number].pk, overrule=True, reason="I want to see it."
            )
        except NotNow as refusal:
            return refusal.detail
        finally:
            connection.close()
        return "asked"

    with ThreadPoolExecutor(2) as pool:
        told = sorted(pool.map(ask, range(2)), key=len)
    assert told[0] == "asked"
    assert "right now" in told[1]
    assert Deployment.objects.filter(state=DeploymentState.LOADING).count() == 1


def test_a_switch_after_it_was_called_off(model: ModelVersion, candidate: ModelVersion, admin: User) -> None:
    asked = promote(by=admin, version_id=candidate.pk, overrule=True, reason="I want to see it.")
    give_up(by=admin, deployment_id=asked.pk)
    assert not switch(asked.pk, proof="too late")
    assert in_service() == model
    with pytest.raises(NotNow):
        give_up(by=admin, deployment_id=asked.pk)


def test_the_database_keeps_the_ledger(model: ModelVersion, candidate: ModelVersion, admin: User) -> None:
    asked = promote(by=admin, version_id=candidate.pk, overrule=True, reason="I want to see it.")
    switch(asked.pk, proof="words")
    ended = Deployment.objects.get(state=DeploymentState.ENDED)
    for change in ({"reason": "another"}, {"version": candidate}, {"began": None, "ended": None, "state": "loading"}):
        with pytest.raises(DatabaseError, match=r"ledger|deployment_times"), transaction.atomic():
            Deployment.objects.filter(pk=ended.pk).update(**change)
    with pytest.raises(DatabaseError, match="ledger"), transaction.atomic():
        ended.delete()
    with pytest.raises(DatabaseError, match="no version in service"):
        end_all()
    with pytest.raises(IntegrityError), transaction.atomic():
        Deployment.objects.create(version=model, state=DeploymentState.SERVING, kind="promote", began=timezone.now())


def end_all() -> None:
    with transaction.atomic():
        Deployment.objects.filter(state=DeploymentState.SERVING).update(
            state=DeploymentState.ENDED, ended=timezone.now()
        )
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_the_audit_is_append_only(admin: User, owner: User, candidate: ModelVersion) -> None:
    promote(by=owner, version_id=candidate.pk, overrule=True, reason="I want to see it.")
    found = AuditEvent.objects.get(act="version.promote")
    for act in (lambda: AuditEvent.objects.filter(pk=found.pk).update(who="nobody"), found.delete):
        with pytest.raises(DatabaseError, match="audit"), transaction.atomic():
            act()
    name = owner.name
    owner.delete()
    found.refresh_from_db()
    assert (found.by, found.who) == (None, name), "the name stays when the person goes"
