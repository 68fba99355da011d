"""Structured logs: one line for each event, with its story and generation, without passwords, tokens and texts."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

import structlog

_SECRET = ("password", "token", "secret", "authorization", "cookie", "key")
_SECRETS = re.compile(
    r"(/account/invitation/)[^/\s\"'?]+"
    r"|(/account/password/reset/key/)[^/\s\"'?]+"
    r"|\b(lh_)[\w-]{16,}"
    r"|(Bearer )[\w.~+/=-]+"
    r"|(\w+://[^:/\s@]*:)[^@\s/]+(?=@)"
)
"""Patterns of secrets in messages of libraries: links with a secret, tokens, passwords in URLs."""


def _redact(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    for name in event:
        if any(word in name.lower() for word in _SECRET):
            event[name] = "[redacted]"
    return event


def hide(text: str) -> str:
    return _SECRETS.sub(lambda found: next(filter(None, found.groups())) + "[redacted]", text)


def _hide(_logger: Any, _method: str, line: Any) -> str:
    """Remove secrets from the rendered line, including its traceback."""
    return hide(str(line))


def configure(options: dict[str, Any]) -> None:
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        _redact,
    ]
    end: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if options["json"]
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end, _hide],
                }
            },
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["console"], "level": "INFO"},
            "loggers": {
                "httpx2": {"level": "WARNING"},
                "uvicorn.access": {"level": "WARNING"},
                "celery": {"level": "WARNING"},
                "django_structlog": {"level": "WARNING" if options["debug"] else "INFO"},
            },
        }
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
