"""Who did what: one line for each act that others must be able to look up. A trigger of the database keeps it as it was written.

Call `record` in the transaction of the act, so that neither is there without the other.
"""

from __future__ import annotations

from typing import Any

from writer.accounts.models import AuditEvent, User


def record(by: User | None, act: str, about: str, **details: Any) -> AuditEvent:
    """`act` is a verb with its room, such as "run.start"; `about` names the thing in words. `by` None: the site itself."""
    return AuditEvent.objects.create(
        by=by, who=by.name if by else "the site", act=act, about=about[:300], details=details
    )
