"""A snapshot is asked for in a request and made by a worker: over many votes it takes longer than a page waits."""

from __future__ import annotations

import json

from celery import current_app
from django.db import connection, transaction
from django.db.models import Max

from writer.accounts.models import User
from writer.editorial.models import Making, Principle, Snapshot
from writer.editorial.snapshots.build import Built, build
from writer.editorial.snapshots.query import SnapshotQuery
from writer.refusals import Refused

TASK = "workers.jobs.tasks.make_snapshot"


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
    """Fill in a snapshot that waits. None: somebody else does, or it is done. What fails is kept with the reason."""
    try:
        with transaction.atomic():
            waiting = Snapshot.objects.select_for_update(skip_locked=True)
            snapshot = waiting.filter(pk=snapshot_id, state=Making.WAITING).first()
            if snapshot is None:
                return None
            with transaction.atomic():
                return _fill(snapshot)
    except Refused as refusal:
        Snapshot.objects.filter(pk=snapshot_id).update(state=Making.FAILED, problem=refusal.detail)
    except Exception:
        Snapshot.objects.filter(pk=snapshot_id).update(
            state=Making.FAILED, problem="Something went wrong while it was made; the worker's log says what."
        )
        raise
    return None


def _fill(snapshot: Snapshot) -> Snapshot:
    # All of it is read at one moment: what is voted meanwhile is in the next one.
    built = build(SnapshotQuery.model_validate(snapshot.query))
    if not built.rows:
        reasons = ", ".join(f"{number} {name}" for name, number in built.left_out.most_common(4) if number)
        raise Refused(f"There is nothing to put into it. Left out: {reasons or 'nothing; nobody has judged yet'}.")
    _store(snapshot, built)
    snapshot.counts = {
        "sources": dict(built.sources),
        "left_out": {name: number for name, number in built.left_out.items() if number},
    }
    snapshot.rows, snapshot.sha256, snapshot.state = len(built.rows), built.sha256, Making.READY
    snapshot.save()
    return snapshot


def _store(snapshot: Snapshot, built: Built) -> None:
    """By COPY: there may be a hundred thousand."""
    columns = "snapshot_id, index, sha256, brief_id, chosen_id, rejected_id, passage, label, origin"
    with connection.cursor() as cursor, cursor.copy(f"COPY editorial_snapshotrow ({columns}) FROM STDIN") as out:
        for index, row in enumerate(built.rows):
            passage = None if row.passage is None else json.dumps(row.passage)
            texts = row.brief, row.chosen, row.rejected
            out.write_row((snapshot.pk, index, row.sha256, *texts, passage, row.label, json.dumps(row.origin)))
