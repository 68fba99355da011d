"""Authentication by bearer token."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from writer.accounts.models import ApiToken, User, digest
from writer.refusals import Refused


def user_of_token(secret: str) -> User | None:
    """The owner of a valid token. Its last use is stored at most once a minute, so that polling does not write each time."""
    now = timezone.now()
    unexpired = Q(expires=None) | Q(expires__gt=now)
    found = (
        ApiToken.objects.filter(unexpired, digest=digest(secret), owner__is_active=True).select_related("owner").first()
    )
    if found is None:
        return None
    if found.last_used is None or now - found.last_used > timedelta(minutes=1):
        ApiToken.objects.filter(pk=found.pk).update(last_used=now)
    return found.owner


def bearer(header: str) -> str:
    """The token in an Authorization header; "" if there is none."""
    scheme, _, secret = header.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def checked_days(days: int | None) -> int | None:
    if days is not None and not 1 <= days <= 3650:
        raise Refused("A token is in force for 1 to 3,650 days, or until it is revoked.", field="days")
    return days
