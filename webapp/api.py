"""The HTTP API: the operations of the pages, for scripts. Authentication is by session, or by personal bearer token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.security import HttpBearer, SessionAuth

from writer.accounts.api import router as accounts
from writer.accounts.models import User
from writer.accounts.tokens import user_of_token
from writer.editorial.api import router as editorial
from writer.refusals import Missing, Refused
from writer.stories.api import router as stories
from writer.stories.operations.save_text import Conflict


class Token(HttpBearer):
    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        user = user_of_token(token)
        if user is not None:
            request.user = user
        return user


class Session(SessionAuth):
    """Authentication by session. Requests that change something need the CSRF token in X-CSRFToken."""

    def __call__(self, request: HttpRequest) -> Any:
        return super().__call__(request) if request.user.is_authenticated else None


api = NinjaAPI(title="Longhand", version="1", auth=[Token(), Session()], docs_url=None, urls_namespace="api")
api.add_router("", stories)
api.add_router("", accounts)
api.add_router("", editorial)


def _answer(request: HttpRequest, status: int, detail: str, **more: object) -> HttpResponse:
    more = {name: value for name, value in more.items() if value}
    return api.create_response(request, {"detail": detail, **more}, status=status)


@api.exception_handler(Refused)
def _refused(request: HttpRequest, refusal: Refused) -> HttpResponse:
    return _answer(request, refusal.status, refusal.detail, field=refusal.field)


@api.exception_handler(Missing)
@api.exception_handler(Http404)
def _missing(request: HttpRequest, _error: Exception) -> HttpResponse:
    return _answer(request, 404, "There is no such thing here.")


@api.exception_handler(AuthenticationError)
def _stranger(request: HttpRequest, _error: AuthenticationError) -> HttpResponse:
    return _answer(request, 401, "Please sign in, or send a valid token.")


@api.exception_handler(RequestDataTooBig)
def _too_big(request: HttpRequest, _error: RequestDataTooBig) -> HttpResponse:
    return _answer(request, 413, "The request is larger than any story.")


@api.exception_handler(HttpError)
def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    words = {
        400: "The request is not valid JSON.",
        403: "The page has expired, or the request came from another site. Load the page again.",
    }
    return _answer(request, error.status_code, words.get(error.status_code, str(error)))


@api.exception_handler(Conflict)
def _conflict(request: HttpRequest, conflict: Conflict) -> HttpResponse:
    head = conflict.theirs
    theirs = {"revision": str(head.pk), "absorbed": head.absorbed, "text": head.text}
    return _answer(request, 409, str(conflict), theirs=theirs, yours={"text": conflict.yours})


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    first: Mapping[str, Any] = error.errors[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "path", "query", "payload")]
    field = where[-1] if where else ""
    return _answer(request, 422, _plain(str(first["type"]), field, str(first["msg"])), field=field)


def _plain(kind: str, field: str, message: str) -> str:
    name = field.replace("_", " ") or "request"
    if kind == "missing":
        return f"The {name} is missing."
    if kind.startswith("int_"):
        return f"The {name} must be a whole number."
    if kind.startswith(("float_", "finite_number")):
        return f"The {name} must be a number."
    if kind == "string_unicode":
        return f"The {name} contains half of a character that cannot be stored. Please remove it."
    if kind.startswith("string_"):
        return f"The {name} must be a text."
    if kind.startswith("bool_"):
        return f"The {name} must be true or false."
    if kind.startswith("uuid_"):
        return f"The {name} must be an id, such as 6f0c1c8e-4f0e-4d0a-9d43-3f1d8b8a7c55."
    if kind == "extra_forbidden":
        return f"There is no field {field}."
    return f"The {name} cannot be read: {message}."
