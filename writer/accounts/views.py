"""The pages of accounts and invitations and, for admins, of people."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from writer.accounts.checks import checked_name
from writer.accounts.http import admins_only, person, site_of
from writer.accounts.models import ApiToken, Invitation, Role, User
from writer.accounts.operations.accept_invitation import accept_invitation, invitation_of
from writer.accounts.operations.change_person import change_person
from writer.accounts.operations.invite import invite, link_of
from writer.accounts.operations.password_link import password_link
from writer.accounts.tokens import checked_days
from writer.refusals import Missing, Refused

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


@login_required
@never_cache
def account(request: HttpRequest) -> HttpResponse:
    """accounts/account.html with `tokens`, `errors`, and `secret` right after a token was made."""
    user = person(request)
    if request.method == "POST":
        try:
            user.name = checked_name(request.POST.get("name", ""))
        except Refused as refusal:
            return _account(request, {refusal.field: refusal.detail}, status=refusal.status)
        user.save(update_fields=["name"])
        messages.success(request, "Your name has been changed.")
        return redirect("account")
    return _account(request, {})


def _account(request: HttpRequest, errors: dict[str, str], *, secret: str = "", status: int = 200) -> HttpResponse:
    context = {"tokens": person(request).api_tokens.order_by("created"), "errors": errors, "secret": secret}
    return render(request, "accounts/account.html", context, status=status)


@login_required
@require_POST
@never_cache
def tokens(request: HttpRequest) -> HttpResponse:
    """Make a token. It is shown only in this response."""
    days = request.POST.get("days", "365").strip()
    try:
        name = checked_name(request.POST.get("name", ""), "token_name")
        if days and not (days.isdecimal() and len(days) < 6):
            raise Refused("Enter a whole number of days, or nothing.", field="days")
        _, secret = ApiToken.issue(person(request), name, checked_days(int(days) if days else None))
    except Refused as refusal:
        return _account(request, {refusal.field: refusal.detail}, status=refusal.status)
    return _account(request, {}, secret=secret)


@login_required
@require_POST
def token_revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    deleted, _ = person(request).api_tokens.filter(pk=token_id).delete()
    if not deleted:
        raise Http404
    messages.success(request, "The token has been revoked.")
    return redirect("account")


# Invitations


@sensitive_post_parameters()
@never_cache
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """accounts/invitation.html with `invitation`, `typed`, `errors`; accounts/invitation_over.html for an invalid link."""
    if request.user.is_authenticated:
        return render(request, "accounts/invitation_over.html", {"why": "signed in"}, status=409)
    try:
        found = invitation_of(secret)
    except Missing:
        return render(request, "accounts/invitation_over.html", {"why": "unknown"}, status=404)
    if not found.is_open:
        why = "used" if found.accepted_by_id else "expired"
        return render(request, "accounts/invitation_over.html", {"why": why}, status=410)
    if request.method != "POST":
        return render(request, "accounts/invitation.html", {"invitation": found, "typed": {}, "errors": {}})
    name, password = request.POST.get("name", ""), request.POST.get("password", "")
    try:
        if password != request.POST.get("password_again", ""):
            raise Refused("The two passwords differ.", field="password_again")
        user = accept_invitation(secret=secret, name=name, password=password)
    except Missing:
        return render(request, "accounts/invitation_over.html", {"why": "unknown"}, status=404)
    except Refused as refusal:
        context = {"invitation": found, "typed": {"name": name}, "errors": {refusal.field: refusal.detail}}
        return render(request, "accounts/invitation.html", context, status=refusal.status)
    login(request, user, backend=BACKEND)
    return redirect("stories")


# For admins


@admins_only
@require_safe
def people(request: HttpRequest) -> HttpResponse:
    return _people(request)


def _people(
    request: HttpRequest, errors: dict[str, str] | None = None, *, status: int = 200, **made: str
) -> HttpResponse:
    """accounts/people.html with `people`, `invitations`, `roles`, `errors`, `typed`.

    After a link was made, also `link` and its recipient: `invited` (the address), or `let_back` (the name).
    """
    context = {
        "people": User.objects.order_by("name", "pk"),
        "invitations": Invitation.objects.filter(accepted_by=None).order_by("-created"),
        "roles": Role.choices,
        "errors": errors or {},
        "typed": {"email": request.POST.get("email", ""), "role": request.POST.get("role", Role.WRITER)},
        **made,
    }
    return render(request, "accounts/people.html", context, status=status)


@admins_only
@require_POST
@never_cache
def invite_person(request: HttpRequest) -> HttpResponseBase:
    try:
        made = invite(by=person(request), email=request.POST.get("email", ""), role=request.POST.get("role", ""))
    except Refused as refusal:
        return _people(request, {refusal.field: refusal.detail}, status=refusal.status)
    return _people(request, link=link_of(made, site_of(request)), invited=made.email)


@admins_only
@require_POST
@never_cache
def person_password(request: HttpRequest, user_id: int) -> HttpResponse:
    user, link = password_link(user_id=user_id, site=site_of(request))
    return _people(request, link=link, let_back=user.name)


@admins_only
@require_POST
def invitation_withdraw(request: HttpRequest, invitation_id: int) -> HttpResponse:
    deleted, _ = Invitation.objects.filter(pk=invitation_id, accepted_by=None).delete()
    if not deleted:
        raise Http404
    messages.success(request, "The invitation has been withdrawn; its link no longer works.")
    return redirect("people")


@admins_only
@require_POST
def person_change(request: HttpRequest, user_id: int) -> HttpResponse:
    """`role`, or `active` as "yes" or "no"."""
    active = request.POST.get("active")
    try:
        changed = change_person(
            by=person(request),
            user_id=user_id,
            role=request.POST.get("role"),
            active=None if active is None else active == "yes",
        )
    except Refused as refusal:
        return _people(request, {"": refusal.detail}, status=refusal.status)
    messages.success(request, f"{changed.name} has been changed.")
    return redirect("people")


def nothing_here(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    raise Http404


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """403_csrf.html. Usually the page is older than the session, and reloading it helps."""
    return render(request, "403_csrf.html", status=403)
