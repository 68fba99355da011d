"""The audit log: one line for each act that others must be able to look up. A trigger of the database prevents changes.

Call `record` in the transaction of the act, so that both are stored or neither.
"""

from __future__ import annotations

from typing import Any

from writer.accounts.models import AuditEvent, User

SITE = ("the site", "the house")
"""The names of the site itself, now and in lines of before the end of 2026."""


def record(by: User | None, act: str, about: str, **details: Any) -> AuditEvent:
    """Add a line. `act` is room and verb, such as "run.start"; `about` describes the object. `by` None is the site itself."""
    return AuditEvent.objects.create(by=by, who=by.name if by else SITE[0], act=act, about=about[:300], details=details)
