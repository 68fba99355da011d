"""Who may do what is hard to undo: an admin who has shown again, a moment ago, who it is; with a second factor outside of a demo."""

from __future__ import annotations

from functools import wraps

from allauth.account.decorators import reauthentication_required
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from writer.accounts.http import P, View, admins_only, person


def guarded(view: View[P]) -> View[P]:
    """For promote, rollback, delete and export."""

    @admins_only
    @wraps(view)
    def check(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not settings.DEBUG and not is_mfa_enabled(person(request)):
            messages.error(request, "This needs a second factor. Set one up here, and come back.")
            return redirect("mfa_index")
        asked: HttpResponseBase = reauthentication_required(view)(request, *args, **kwargs)
        return asked

    return check
