"""The pages of model versions: lineage, reports, stories, and deployment."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from writer.accounts.http import admins_only, guarded, person
from writer.refusals import Refused
from writer.stories.models import Deployment, DeploymentState, ModelVersion
from writer.stories.operations.deploy import in_service_or_none
from writer.studio.gate import gate_of, worse
from writer.studio.lineage import lineage_of
from writer.studio.models import Arena, Evaluation, Serving, VersionImport
from writer.studio.operations.ask_evaluation import ask_evaluation
from writer.studio.operations.deploy import give_up, promote, roll_back
from writer.studio.operations.import_version import ask_import
from writer.studio.operations.retire import retire
from writer.studio.pictures import lengths, strip


@admins_only
@require_safe
@never_cache
def versions(request: HttpRequest) -> HttpResponse:
    """studio/versions.html with `versions`, `serving`, the one in service, and waiting or refused `imports`."""
    found = ModelVersion.objects.select_related("parent", "run", "serving").order_by("-pk")
    imports = VersionImport.objects.filter(version=None)[:20]
    context = {"versions": found, "serving": in_service_or_none(), "imports": imports}
    return render(request, "studio/versions.html", context)


def _version(version_id: int) -> ModelVersion:
    found = ModelVersion.objects.select_related("parent", "run__snapshot", "run__dataset", "run__by").filter(
        pk=version_id
    )
    version = found.first()
    if version is None:
        raise Http404
    return version


@admins_only
@require_safe
@never_cache
def version(request: HttpRequest, version_id: int) -> HttpResponse:
    """studio/version.html with `version`, `lineage`, `report`, `arenas`, `gate`, `deployments`."""
    return _page(request, _version(version_id))


def _page(
    request: HttpRequest, found: ModelVersion, errors: dict[str, str] | None = None, *, status: int = 200
) -> HttpResponse:
    serving = in_service_or_none()
    evaluation = Evaluation.objects.filter(version=found).select_related("against").first()
    report = (evaluation.report if evaluation else None) or {}
    context = {
        "version": found,
        "serving": serving,
        "is_serving": serving is not None and serving.pk == found.pk,
        "loaded": Serving.objects.filter(version=found).first(),
        "lineage": lineage_of(found),
        "evaluation": evaluation,
        "worse": worse(evaluation) if evaluation else [],
        "lengths": lengths(report),
        "figures": [(one, strip(one)) for one in report.get("figures", ())],
        "arenas": Arena.objects.filter(candidate=found).select_related("champion"),
        "gate": gate_of(found) if serving is not None and found.writes and serving.pk != found.pk else None,
        "deployments": Deployment.objects.filter(version=found).select_related("by").order_by("-pk"),
        "on_its_way": Deployment.objects.filter(state=DeploymentState.LOADING).select_related("version", "by").first(),
        "children": ModelVersion.objects.filter(parent=found),
        "errors": errors or {},
    }
    return render(request, "studio/version.html", context, status=status)


@admins_only
@require_POST
def version_evaluate(request: HttpRequest, version_id: int) -> HttpResponse:
    try:
        ask_evaluation(by=person(request), version_id=version_id)
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("version", version_id)


@guarded
@require_POST
def version_promote(request: HttpRequest, version_id: int) -> HttpResponse:
    """Deploy; posts `overrule` and `reason` if the gate is closed."""
    found = _version(version_id)
    try:
        promote(
            by=person(request),
            version_id=version_id,
            reason=request.POST.get("reason", ""),
            overrule="overrule" in request.POST,
        )
    except Refused as refusal:
        return _page(request, found, {refusal.field: refusal.detail}, status=refusal.status)
    return redirect("version", version_id)


@guarded
@require_POST
def version_roll_back(request: HttpRequest) -> HttpResponse:
    try:
        roll_back(by=person(request), reason=request.POST.get("reason", ""))
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("studio")


@admins_only
@require_POST
def deployment_give_up(request: HttpRequest, deployment_id: int) -> HttpResponse:
    try:
        give_up(by=person(request), deployment_id=deployment_id)
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("studio")


@guarded
@require_POST
def version_retire(request: HttpRequest, version_id: int) -> HttpResponse:
    try:
        retire(by=person(request), version_id=version_id)
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("version", version_id)


@guarded
@require_POST
def version_import(request: HttpRequest) -> HttpResponse:
    """Import a version; posts `name`, and `folder`, the name of a folder in VAR/studio/incoming."""
    try:
        ask_import(by=person(request), name=request.POST.get("name", ""), folder=request.POST.get("folder", ""))
    except Refused as refusal:
        messages.error(request, refusal.detail)
    else:
        messages.info(request, "A worker is checking it.")
    return redirect("versions")
