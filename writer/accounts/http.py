"""Access control of views, and the types of authenticated requests."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from allauth.account.decorators import reauthentication_required
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from writer.accounts.models import User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def person(request: HttpRequest) -> User:
    """The person of an authenticated request."""
    assert isinstance(request.user, User)
    return request.user


def site_of(request: HttpRequest) -> str:
    """The address at which this person reached the site, for links to pass on."""
    return f"{request.scheme}://{request.get_host()}"


def editors_only(view: View[P]) -> View[P]:
    return _only(view, lambda user: user.is_editor)


def admins_only(view: View[P]) -> View[P]:
    return _only(view, lambda user: user.is_admin)


def guarded(view: View[P]) -> View[P]:
    """For acts that are hard to undo (promote, rollback, delete, export): an admin who has authenticated again a moment ago, outside
    a demo with a second factor."""

    @admins_only
    @wraps(view)
    def check(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not settings.DEBUG and not is_mfa_enabled(person(request)):
            messages.error(request, "This needs a second factor. Set one up here, and come back.")
            return redirect("mfa_index")
        asked: HttpResponseBase = reauthentication_required(view)(request, *args, **kwargs)
        return asked

    return check


def _only(view: View[P], may: Callable[[User], bool]) -> View[P]:
    """404 for all others."""

    @login_required
    @wraps(view)
    def check(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not may(person(request)):
            raise Http404
        return view(request, *args, **kwargs)

    return check
