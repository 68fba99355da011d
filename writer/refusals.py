"""What cannot be done, in words for the person who asked. Pages show them, the API answers with them."""

from __future__ import annotations

from django.http import Http404


class Refused(Exception):
    """`field` names the field of the form that is to blame, where one is."""

    status = 422

    def __init__(self, detail: str, *, field: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class NotNow(Refused):
    """What was asked is fine, but not in the state that things are in."""

    status = 409


class TooMuch(Refused):
    """A limit of the person is reached."""

    status = 429


class Unavailable(Refused):
    """Something that the site itself lacks."""

    status = 503


class Missing(Http404):
    """There is no such thing for this person: it does not exist, or it is somebody else's. Nobody learns which."""
