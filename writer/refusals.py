"""Errors for the person who made a request. Pages show them, and the API returns them."""

from __future__ import annotations

from django.http import Http404


class Refused(Exception):
    """A request with an error. `field` names the invalid field of the form, if there is one."""

    status = 422

    def __init__(self, detail: str, *, field: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class NotNow(Refused):
    """The request is valid, but not in the current state."""

    status = 409


class TooMuch(Refused):
    """The person has reached a limit."""

    status = 429


class Unavailable(Refused):
    """Something that the site needs is missing or unavailable."""

    status = 503


class Missing(Http404):
    """The object does not exist, or belongs to somebody else; the message does not tell which."""
