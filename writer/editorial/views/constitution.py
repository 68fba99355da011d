"""The pages of the constitution. Everybody on the site may read it; editors change it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from training.common.records import MOST_EXAMPLES, Example
from training.common.records import Principle as Record
from training.common.tasks import TASKS, task_choices
from training.common.text import storable
from writer.accounts.http import editors_only, person
from writer.editorial.constitution import (
    FILE_BYTES,
    checked_principle,
    read_constitution,
    record_of,
    write_constitution,
)
from writer.editorial.models import Domain, Principle, PrincipleState, PrincipleVersion, Settlement
from writer.editorial.operations.import_constitution import import_constitution
from writer.editorial.operations.save_principle import new_principle, save_principle
from writer.editorial.operations.set_state import set_state
from writer.editorial.violations import acceptance
from writer.refusals import Refused
from writer.stories.operations.export import File
from writer.stories.views import attachment

EXAMPLE_FIELDS = tuple(Example.model_fields)


@login_required
@require_safe
def constitution(request: HttpRequest) -> HttpResponse:
    """editorial/constitution.html with `groups`: (label of the state, versions), `task` and `q`, what was asked for."""
    return _constitution(request)


def _constitution(request: HttpRequest, errors: dict[str, str] | None = None, *, status: int = 200) -> HttpResponse:
    task, words = request.GET.get("task", ""), storable(request.GET.get("q", "")).strip()
    versions = current_versions().order_by("name")
    if task in TASKS:
        versions = versions.filter(tasks__contains=[task])
    if words:
        versions = versions.filter(Q(name__icontains=words) | Q(explanation__icontains=words))
    groups = [
        (state.label, [version for version in versions if version.principle.state == state])
        for state in (PrincipleState.IN_FORCE, PrincipleState.DRAFT, PrincipleState.RETIRED)
    ]
    context = {
        "groups": [group for group in groups if group[1]],
        "tasks": task_choices(),
        "task": task,
        "q": words,
        "errors": errors or {},
    }
    return render(request, "editorial/constitution.html", context, status=status)


def current_versions() -> QuerySet[PrincipleVersion]:
    return PrincipleVersion.objects.filter(pk=F("principle__current_id")).select_related("principle")


def _principle(key: str) -> Principle:
    found = Principle.objects.select_related("current__author", "current__principle").filter(key=key).first()
    if found is None or found.current is None:
        raise Http404
    return found


@login_required
@require_safe
def principle(request: HttpRequest, key: str) -> HttpResponse:
    """editorial/principle.html with `principle`, `version` (the one asked for, or the current), `versions`, `questions`, `states`, and for
    editors, `violations`, their judgements."""
    user, found = person(request), _principle(key)
    versions = list(found.versions.select_related("author").order_by("-number"))
    number = request.GET.get("version", "")
    asked = [version for version in versions if str(version.number) == number] if number else versions[:1]
    if not asked:
        raise Http404
    version = asked[0]
    context = {
        "principle": found,
        "version": version,
        "versions": versions,
        "domains": [Domain(value).label for value in version.domains],
        "tasks": [TASKS[value].label if value in TASKS else value for value in version.tasks],
        "questions": Settlement.objects.filter(version=found.current, removed=None).order_by("created"),
        "violations": acceptance(user, key) if user.is_editor else [],
        "states": [choice for choice in PrincipleState.choices if choice[0] != found.state],
    }
    return render(request, "editorial/principle.html", context)


@editors_only
@never_cache
def principle_new(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _form(request, {"domains": [Domain.FICTION], "tasks": ["write"], "examples": [{}]})
    typed = _typed(request.POST)
    try:
        version = new_principle(by=person(request), record=checked_principle(_wording(typed)))
    except Refused as refusal:
        return _form(request, typed, {refusal.field: refusal.detail}, status=refusal.status)
    messages.success(request, "The principle is a draft. Put it in force when it is ready.")
    return redirect("principle", version.principle.key)


@editors_only
@never_cache
def principle_edit(request: HttpRequest, key: str) -> HttpResponse:
    found = _principle(key)
    assert found.current is not None
    if request.method != "POST":
        current = record_of(found.current).model_dump(mode="json")
        return _form(request, current | {"base": found.current.number}, principle=found)
    typed = _typed(request.POST)
    try:
        if typed["meaning"] not in ("same", "changed"):
            raise Refused("Is the meaning still the same? Marks under the principle depend on that.", field="meaning")
        version = save_principle(
            by=person(request),
            record=checked_principle(_wording(typed) | {"key": key}),
            base=int(typed["base"]) if typed["base"].isdecimal() and len(typed["base"]) < 10 else 0,
            meaning_changed=typed["meaning"] == "changed",
            why=typed["why"],
        )
    except Refused as refusal:
        return _form(request, typed, {refusal.field: refusal.detail}, principle=found, status=refusal.status)
    if version.number == found.current.number:
        messages.info(request, "There are no changes, so no new version was made.")
    else:
        messages.success(request, f"Version {version.number} is stored.")
    return redirect("principle", key)


def _typed(form: QueryDict) -> dict[str, Any]:
    """The input of the form; empty sets of example fields are left out."""
    count = min(len(form.getlist("follows")), MOST_EXAMPLES)
    columns = [form.getlist(name)[:count] for name in EXAMPLE_FIELDS]
    rows = [dict(zip(EXAMPLE_FIELDS, row, strict=True)) for row in zip(*columns, strict=False)]
    return {
        **{name: form.get(name, "") for name in ("key", "name", "explanation", "meaning", "why", "base")},
        "domains": form.getlist("domains"),
        "tasks": form.getlist("tasks"),
        "examples": [row for row in rows if any(value.strip() for value in row.values())],
    }


def _wording(typed: dict[str, Any]) -> dict[str, Any]:
    return {name: typed[name] for name in Record.model_fields}


def _form(
    request: HttpRequest,
    typed: dict[str, Any],
    errors: dict[str, str] | None = None,
    *,
    principle: Principle | None = None,
    status: int = 200,
) -> HttpResponse:
    """editorial/principle_form.html with `typed`, `errors`, `principle` (None for a new one); one set of example fields is spare."""
    context = {
        "typed": typed | {"examples": [*typed["examples"], {}][:MOST_EXAMPLES]},
        "errors": errors or {},
        "principle": principle,
        "domains": Domain.choices,
        "tasks": task_choices(),
    }
    return render(request, "editorial/principle_form.html", context, status=status)


@editors_only
@require_POST
def principle_state(request: HttpRequest, key: str) -> HttpResponse:
    try:
        changed = set_state(by=person(request), key=key, state=request.POST.get("state", ""))
    except Refused as refusal:
        messages.error(request, refusal.detail)
        return redirect("principle", key)
    messages.success(request, f"It is now: {changed.get_state_display().lower()}.")
    return redirect("principle", key)


@login_required
@require_safe
def constitution_export(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """All principles except retired ones, as a file for the import."""
    versions = current_versions().exclude(principle__state=PrincipleState.RETIRED).order_by("principle__key")
    text = write_constitution(record_of(version) for version in versions)
    return attachment(File("constitution.toml", "application/toml; charset=utf-8", text.encode()))


@editors_only
@require_POST
def constitution_import(request: HttpRequest) -> HttpResponse:
    """Posts `file`; new principles become drafts. `meaning` is "changed" if changed ones have a new meaning."""
    try:
        upload = request.FILES.get("file")
        if upload is None:
            raise Refused("Choose a file first.", field="file")
        if (upload.size or 0) > FILE_BYTES:
            raise Refused(f"The file has {upload.size:,} bytes; the limit is {FILE_BYTES:,}.", field="file")
        try:
            text = upload.read().decode()
        except UnicodeDecodeError:
            raise Refused("The file is not text in UTF-8.", field="file") from None
        changed = request.POST.get("meaning") == "changed"
        done = import_constitution(by=person(request), records=read_constitution(text), meaning_changed=changed)
    except Refused as refusal:
        return _constitution(request, {refusal.field: refusal.detail}, status=refusal.status)
    messages.success(request, f"Imported: {done.new} new as drafts, {done.changed} changed, {done.same} the same.")
    return redirect("constitution")
