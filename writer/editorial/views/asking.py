"""The page for requesting pairs: a prompt, and two model versions that write on it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from writer.accounts.http import editors_only, person
from writer.editorial.models import Asking
from writer.editorial.operations.ask_pair import MOST_OVERLAP, MOST_PAIRS, MOST_PRIORITY, ask_pairs, collect_askings
from writer.refusals import Refused
from writer.stories.models import ModelVersion
from writer.stories.views import whole_number

USUAL = {"title": "", "premise": "", "target_words": "1500", "first": "", "second": "", "pairs": "1", "overlap": "3", "priority": "0"}  # fmt: skip


@editors_only
@never_cache
def ask(request: HttpRequest) -> HttpResponse:
    """editorial/ask.html with `typed`, `errors`, `versions`, `limits` and `askings`, the newest of this editor."""
    user = person(request)
    typed, errors, status = dict(USUAL), {}, 200
    if request.method == "POST":
        typed = {name: request.POST.get(name, "") for name in USUAL}
        try:
            asked = ask_pairs(
                by=user,
                title=typed["title"],
                premise=typed["premise"],
                target_words=whole_number(typed["target_words"], "target_words"),
                versions=(whole_number(typed["first"], "first"), whole_number(typed["second"], "second")),
                **{name: whole_number(typed[name], name) for name in ("pairs", "overlap", "priority")},
            )
        except Refused as refusal:
            errors, status = {refusal.field: refusal.detail}, refusal.status
        else:
            many = "One pair is" if len(asked) == 1 else f"{len(asked)} pairs are"
            messages.success(request, f"{many} being written. It is given to editors when both takes are finished.")
            return redirect("ask")
    collect_askings()
    askings = Asking.objects.filter(by=user).select_related("brief", "pair", "first", "second").order_by("-pk")[:30]
    context = {
        "typed": typed,
        "errors": errors,
        "versions": [(str(pk), name) for pk, name in ModelVersion.objects.order_by("name").values_list("pk", "name")],
        "most": {"pairs": MOST_PAIRS, "overlap": MOST_OVERLAP, "priority": MOST_PRIORITY},
        "askings": askings,
    }
    return render(request, "editorial/ask.html", context, status=status)
