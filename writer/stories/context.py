"""Template context of every page: the model that writes, and how to serve a better one."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from writer.stories.models import MAX_WORDS, MIN_WORDS, PREMISE_CHARS, TITLE_CHARS, ModelVersion
from writer.stories.operations.deploy import in_service_or_none

SERVE_ANOTHER = "MODEL=Qwen/Qwen3.5-9B make run"


def site(request: HttpRequest) -> dict[str, Any]:  # noqa: ARG001
    model = SimpleLazyObject(lambda: in_service_or_none() or ModelVersion())
    return {
        "model": model,
        "model_is_small": SimpleLazyObject(lambda: model.is_demo or model.is_starter),
        "starter_problem": settings.STARTER_PROBLEM,
        "serve_another": SERVE_ANOTHER,
        "version": settings.LONGHAND_VERSION,
        "debug": settings.DEBUG,
        "mail_configured": settings.MAIL_CONFIGURED,
        "limits": {
            "min_words": MIN_WORDS,
            "max_words": MAX_WORDS,
            "title_chars": TITLE_CHARS,
            "premise_chars": PREMISE_CHARS,
        },
    }
