"""The page of texts by people for arenas: list, import and deletion."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from writer.accounts.http import admins_only, guarded, person
from writer.refusals import Refused
from writer.studio.models import Reference
from writer.studio.operations.import_references import delete_reference, import_references

A_PAGE = 50


@admins_only
@never_cache
def references(request: HttpRequest) -> HttpResponse:
    """studio/references.html with a page of references, and `errors`. POST imports a `file` of JSONL."""
    if request.method != "POST":
        return _list(request)
    try:
        upload = request.FILES.get("file")
        if upload is None:
            raise Refused("Choose a file first.", field="file")
        new = import_references(by=person(request), file=upload)
    except Refused as refusal:
        return _list(request, {refusal.field: refusal.detail}, status=refusal.status)
    messages.success(request, f"Imported: {new:,} new. Known texts were skipped.")
    return redirect("references")


def _list(request: HttpRequest, errors: dict[str, str] | None = None, *, status: int = 200) -> HttpResponse:
    found = Reference.objects.select_related("take__brief", "by").defer("take__text", "take__origins")
    context = {"page": Paginator(found, A_PAGE).get_page(request.GET.get("page")), "errors": errors or {}}
    return render(request, "studio/references.html", context, status=status)


@guarded
@require_POST
def reference_delete(request: HttpRequest, reference_id: int) -> HttpResponse:
    try:
        delete_reference(by=person(request), reference_id=reference_id)
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("references")
