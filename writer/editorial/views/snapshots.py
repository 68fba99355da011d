"""The pages of data sets: request, view, export, and import of preference data. Only for admins, since they contain writers' texts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from writer.accounts.audit import record
from writer.accounts.http import admins_only, guarded, person
from writer.accounts.models import User
from writer.editorial.models import Making, Principle, Snapshot, SnapshotRow
from writer.editorial.operations.import_preferences import import_preferences
from writer.editorial.operations.make_snapshot import ask_snapshot, send
from writer.editorial.snapshots.formats import FILES, written
from writer.editorial.snapshots.importing import read_preferences
from writer.editorial.snapshots.query import SnapshotQuery, checked_query
from writer.refusals import Refused

PART = 2**20


@admins_only
@never_cache
def snapshots(request: HttpRequest) -> HttpResponse:
    """editorial/snapshots.html with `snapshots`, the form's `typed` and `errors`, and what can be chosen."""
    if request.method != "POST":
        return _list(request, SnapshotQuery().model_dump(mode="json"))
    typed = _typed(request)
    try:
        asked = ask_snapshot(by=person(request), query=checked_query(typed))
    except Refused as refusal:
        return _list(request, typed, {refusal.field: refusal.detail}, status=refusal.status)
    return redirect("snapshot", asked.number)


def _typed(request: HttpRequest) -> dict[str, Any]:
    """The form as a query. Empty fields have their defaults."""
    form = request.POST
    typed: dict[str, Any] = {name: name in form for name in ("votes", "mended", "choices", "imported")}
    typed |= {name: form.getlist(name) for name in ("editors", "principles")}
    for name in ("kind", "violations", "since", "until", "least_votes", "least_agreement", "least_read", "most_share"):
        if form.get(name, "").strip():
            typed[name] = form[name].strip()
    return typed


def _list(
    request: HttpRequest, typed: dict[str, Any], errors: dict[str, str] | None = None, *, status: int = 200
) -> HttpResponse:
    usual = SnapshotQuery().model_dump(mode="json")
    context = {
        "snapshots": Snapshot.objects.select_related("by")[:200],
        "typed": usual
        | typed
        | {name: [str(one) for one in typed.get(name, ())] for name in ("editors", "principles")},
        "errors": errors or {},
        "editors": [
            (str(pk), name) for pk, name in User.objects.filter(role__in=("editor", "admin")).values_list("pk", "name")
        ],
        "principles": Principle.objects.exclude(current=None)
        .order_by("current__name")
        .values_list("key", "current__name"),
        "sources": (
            ("votes", "Editors' blind votes on pairs"),
            ("mended", "Passages as written and as mended"),
            ("choices", "Writers' own choices between takes"),
            ("imported", "Imported preferences"),
        ),
        "violations": (
            ("no", "None"),
            ("accepted", "Those that editors accepted or mended"),
            ("not_rejected", "All that no editor rejected, also those that nobody has looked at"),
        ),
    }
    return render(request, "editorial/snapshots.html", context, status=status)


def _snapshot(number: int) -> Snapshot:
    found = Snapshot.objects.select_related("by").filter(number=number).first()
    if found is None:
        raise Http404
    return found


@admins_only
@require_safe
@never_cache
def snapshot(request: HttpRequest, number: int) -> HttpResponse:
    """editorial/snapshot.html with `snapshot`, `gone` (tombstones), and `before`, `added`, `removed`: the last one of its kind."""
    found = _snapshot(number)
    before = Snapshot.objects.filter(kind=found.kind, number__lt=number, state=Making.READY).first()
    context = {
        "snapshot": found,
        "gone": SnapshotRow.objects.filter(snapshot=found).exclude(gone=None).count(),
        "before": before,
        "changed": _changed(before, found) if before else [],
    }
    if before is not None and found.state == Making.READY:
        context["added"], context["removed"] = difference(before, found)
    return render(request, "editorial/snapshot.html", context)


def difference(before: Snapshot, after: Snapshot) -> tuple[int, int]:
    """The numbers of new rows in `after`, and of removed ones."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FILTER (WHERE old.sha256 IS NULL), count(*) FILTER (WHERE new.sha256 IS NULL)
            FROM (SELECT sha256 FROM editorial_snapshotrow WHERE snapshot_id = %s) AS new
            FULL JOIN (SELECT sha256 FROM editorial_snapshotrow WHERE snapshot_id = %s) AS old USING (sha256)
            """,
            [after.pk, before.pk],
        )
        added, removed = cursor.fetchone()
    return added, removed


def _changed(before: Snapshot, after: Snapshot) -> list[tuple[str, Any, Any]]:
    """The differences to the previous query; fields that it lacks have their defaults."""
    asked = SnapshotQuery().model_dump(mode="json") | before.query
    return [
        (name.replace("_", " "), asked.get(name), value)
        for name, value in after.query.items()
        if asked.get(name) != value
    ]


@admins_only
@require_POST
def snapshot_again(request: HttpRequest, number: int) -> HttpResponse:
    """Send a waiting snapshot to the workers again, since the message is lost when a worker dies."""
    found = _snapshot(number)
    if found.state == Making.WAITING:
        send(found)
        messages.info(request, "It was sent to the workers again.")
    return redirect("snapshot", number)


@guarded
@require_safe
@never_cache
def snapshot_export(request: HttpRequest, number: int) -> HttpResponse:
    """editorial/snapshot_export.html with `snapshot` and `files`."""
    return render(request, "editorial/snapshot_export.html", {"snapshot": _snapshot(number), "files": list(FILES)})


@guarded
@require_safe
@never_cache
def snapshot_file(request: HttpRequest, number: int, name: str) -> HttpResponseBase:
    found = _snapshot(number)
    if name not in FILES or found.state != Making.READY:
        raise Http404
    record(person(request), "snapshot.export", f"snapshot {number}, {name}", rows=found.rows)
    return StreamingHttpResponse(
        _parts(written(found, name)),
        content_type=FILES[name][0],
        headers={
            "Content-Disposition": f'attachment; filename="longhand-{number}-{name}"',
            "X-Content-Type-Options": "nosniff",
        },
    )


async def _parts(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        while part := await sync_to_async(file.read)(PART):
            yield part


@admins_only
@require_POST
def snapshot_import(request: HttpRequest) -> HttpResponse:
    """`file`: JSONL or Parquet with prompt, chosen and rejected."""
    try:
        upload = request.FILES.get("file")
        if upload is None:
            raise Refused("Choose a file first.", field="file")
        preferences = read_preferences(upload, upload.name or "", upload.size or 0)
        new, known = import_preferences(by=person(request), preferences=preferences)
    except Refused as refusal:
        usual = SnapshotQuery().model_dump(mode="json")
        return _list(request, usual, {refusal.field: refusal.detail}, status=refusal.status)
    messages.success(request, f"Imported: {new:,} new pairs, {known:,} known ones.")
    return redirect("snapshots")
