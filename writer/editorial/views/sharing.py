"""The writer's pages: consents for a story, editors' notes, and takes."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from writer.accounts.http import person
from writer.editorial.models import Consent, ConsentEvent
from writer.editorial.notes import as_shown, marks_on, notes_json, notes_on
from writer.editorial.operations.choose_take import choose_take
from writer.editorial.operations.share import share
from writer.editorial.reading import palette, sharing_json
from writer.refusals import Refused
from writer.stories.operations.takes import another_take, takes_of
from writer.stories.reading import story_for, whole

MEANING = {
    Consent.READING: (
        "Every editor of this site may read it, mark passages, and compare takes of it. You see their notes. "
        "After you withdraw it, no editor can open the story; you can still read the notes."
    ),
    Consent.TRAINING: (
        "The text, and judgements of it by editors and you, may be used to train models of this site. "
        "After you withdraw it, the text is in no new data set and is deleted from the old ones; models that were trained "
        "on it already are kept."
    ),
    Consent.OUTSIDE: (
        "The text may be sent to a model that this site does not run itself, such as a paid judge. This site does not "
        "control what that company does with it. After you withdraw it, the text is not sent again."
    ),
}


@login_required
@never_cache
def sharing(request: HttpRequest, story_id: UUID) -> HttpResponse:
    """editorial/sharing.html with `story`, `consents` (value, label, meaning, given, history) and `offered_before`."""
    user = person(request)
    try:
        story = story_for(user, story_id)
        if request.method == "POST":
            consent, given = request.POST.get("consent", ""), request.POST.get("given") == "yes"
            share(by=user, story_id=story.pk, consent=consent, given=given)
            messages.success(request, f"{Consent(consent).label}: {'yes' if given else 'no longer'}.")
            return redirect("sharing", story.pk)
    except Refused as refusal:
        messages.error(request, refusal.detail)
        return redirect("sharing", story_id)
    now = sharing_json(story)
    events = list(ConsentEvent.objects.filter(story=story).order_by("-at", "-pk"))
    consents = [
        {
            "value": consent.value,
            "label": consent.label,
            "meaning": MEANING[consent],
            "given": now[consent.value],
            "history": [event for event in events if event.consent == consent.value],
        }
        for consent in Consent
    ]
    context = {"story": story, "consents": consents, "notes": len(marks_on(story))}
    return render(request, "editorial/sharing.html", context)


@login_required
@never_cache
def notes(request: HttpRequest, story_id: UUID) -> HttpResponse:
    """editorial/notes.html with `story`, `notes` (`notes.Note`s) and `data` for json_script "notes"."""
    story = story_for(person(request), story_id)
    text = whole(story).text
    found = notes_on(story, text)
    data = {"text": as_shown(text), "marks": notes_json(found), "palette": palette()}
    return render(request, "editorial/notes.html", {"story": story, "notes": found, "data": data})


@login_required
@never_cache
def takes(request: HttpRequest, story_id: UUID) -> HttpResponse:
    """editorial/takes.html with `story`, `takes`, and `left` and `right`, the two that are compared.

    It posts `another`; or `keep`, the id of a generation, with `over`, the one that it was compared with.
    """
    user = person(request)
    try:
        story = story_for(user, story_id)
        if request.method == "POST" and "another" in request.POST:
            another_take(user=user, story_id=story.pk)
            return redirect("story", story.pk)
        if request.method == "POST":
            keep, over = (_generation_id(request.POST.get(name, "")) for name in ("keep", "over"))
            if keep is None:
                raise Refused("Which take?")
            choose_take(by=user, story_id=story.pk, generation_id=keep, over=over)
            messages.success(request, "This take is the text of the story now. The others stay here.")
            return redirect("story", story.pk)
    except Refused as refusal:
        messages.error(request, refusal.detail)
        return redirect("takes", story_id)
    found = takes_of(story)
    asked = [request.GET.get("left", ""), request.GET.get("right", "")]
    shown = [take for take in found if str(take.generation.pk) in asked] if all(asked) else found[-2:]
    context = {"story": story, "takes": found, "shown": shown[:2] if len(shown) > 1 else found[-2:]}
    return render(request, "editorial/takes.html", context)


def _generation_id(typed: str) -> UUID | None:
    try:
        return UUID(typed)
    except ValueError:
        return None
