"""Snapshots: a request creates the row, and a worker makes the contents, since many votes take longer than a request may."""

from __future__ import annotations

import json

from celery import current_app
from django.db import IntegrityError, connection, transaction
from django.db.models import Max

from writer.accounts.models import User
from writer.editorial.models import Brief, Making, Principle, Snapshot
from writer.editorial.operations.share import no_consent_changes
from writer.editorial.snapshots.build import Built, build, consented_brief
from writer.editorial.snapshots.query import SnapshotQuery
from writer.refusals import Refused

TASK = "workers.jobs.tasks.make_snapshot"
ATTEMPTS = 3


def ask_snapshot(*, by: User, query: SnapshotQuery) -> Snapshot:
    unknown = set(query.principles) - set(Principle.objects.values_list("key", flat=True))
    if unknown:
        raise Refused(f"There is no principle {min(unknown)}.", field="principles")
    editors = dict(User.objects.filter(pk__in=query.editors).values_list("pk", "name"))
    if len(editors) < len(set(query.editors)):
        raise Refused("One of these editors is not here.", field="editors")
    names = dict(Principle.objects.filter(key__in=query.principles).values_list("key", "current__name"))
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=by.pk)
        last = Snapshot.objects.aggregate(last=Max("number"))["last"] or 0
        asked = Snapshot.objects.create(
            number=last + 1,
            kind=query.kind,
            query=query.model_dump(mode="json"),
            described=query.described(editors, names),
            by=by,
        )
        transaction.on_commit(lambda: send(asked))
    return asked


def send(snapshot: Snapshot) -> None:
    current_app.send_task(TASK, [snapshot.pk])


def make_snapshot(*, snapshot_id: int) -> Snapshot | None:
    """Make a waiting snapshot. None if it is done, or another worker makes it. After an error the reason is stored."""
    for attempt in range(ATTEMPTS):
        try:
            with transaction.atomic():
                waiting = Snapshot.objects.select_for_update(skip_locked=True)
                snapshot = waiting.filter(pk=snapshot_id, state=Making.WAITING).first()
                return None if snapshot is None else _fill(snapshot)
        except Refused as refusal:
            _failed(snapshot_id, refusal.detail)
            return None
        except IntegrityError:  # a story was deleted meanwhile
            if attempt == ATTEMPTS - 1:
                _failed(snapshot_id, "Stories were deleted while it was made. Make another one.")
                raise
        except Exception:
            _failed(snapshot_id, "An unexpected error occurred while it was made; see the worker's log.")
            raise
    return None


def _failed(snapshot_id: int, problem: str) -> None:
    Snapshot.objects.filter(pk=snapshot_id).update(state=Making.FAILED, problem=problem)


def _fill(snapshot: Snapshot) -> Snapshot:
    built = build(SnapshotQuery.model_validate(snapshot.query))
    no_consent_changes()
    built.keep(set(Brief.objects.filter(consented_brief()).values_list("pk", flat=True)))
    if not built.rows:
        reasons = ", ".join(f"{number} {name}" for name, number in built.left_out.most_common(4) if number)
        raise Refused(f"It would be empty. Left out: {reasons or 'nothing; nobody has judged yet'}.")
    _store(snapshot, built)
    snapshot.counts = {
        "sources": dict(built.sources),
        "left_out": {name: number for name, number in built.left_out.items() if number},
    }
    snapshot.rows, snapshot.sha256, snapshot.state = len(built.rows), built.sha256, Making.READY
    snapshot.save()
    return snapshot


def _store(snapshot: Snapshot, built: Built) -> None:
    """Store rows with COPY, since there may be a hundred thousand."""
    columns = "snapshot_id, index, sha256, brief_id, chosen_id, rejected_id, passage, label, origin"
    with connection.cursor() as cursor, cursor.copy(f"COPY editorial_snapshotrow ({columns}) FROM STDIN") as out:
        for index, row in enumerate(built.rows):
            passage = None if row.passage is None else json.dumps(row.passage)
            texts = row.brief, row.chosen, row.rejected
            out.write_row((snapshot.pk, index, row.sha256, *texts, passage, row.label, json.dumps(row.origin)))
