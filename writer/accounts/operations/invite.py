"""Invites somebody: makes a link for one account, to be passed on or mailed."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import datetime, timedelta

from celery import current_app
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from writer.accounts.models import Invitation, Role, User, digest
from writer.refusals import Refused

VALID = timedelta(days=7)


def secret_of(email: str, role: str, expires: datetime) -> str:
    """The secret of an invitation, derived from its data and the site's secret key, so that the mail task needs only its id."""
    seal = salted_hmac("writer.accounts.invitation", f"{email} {role} {expires.isoformat()}", algorithm="sha256")
    return urlsafe_b64encode(seal.digest()).rstrip(b"=").decode()


def link_of(invitation: Invitation, site: str = "") -> str:
    """The link. `site` is the address at which the admin reached the site, used if the settings have none."""
    secret = secret_of(invitation.email, invitation.role, invitation.expires)
    return (settings.SITE_URL or site) + reverse("invitation", args=[secret])


def invite(*, by: User | None, email: str, role: str) -> Invitation:
    """Make an invitation. An older open one for the same address is replaced."""
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise Refused("That is not an email address.", field="email") from None
    if role not in Role.values:
        raise Refused("The role must be writer, editor or admin.", field="role")
    if User.objects.filter(email=email).exists():
        raise Refused("There is already an account with this address.", field="email")
    expires = timezone.now() + VALID
    with transaction.atomic():
        Invitation.objects.filter(email=email, accepted_by=None).delete()
        invitation = Invitation.objects.create(
            digest=digest(secret_of(email, role, expires)), email=email, role=role, invited_by=by, expires=expires
        )
        if settings.MAIL_CONFIGURED:
            transaction.on_commit(lambda: _mail(invitation.pk))
    return invitation


def _mail(invitation_id: int) -> None:
    # The task is named, not imported, since the web does not depend on the workers.
    current_app.send_task("workers.jobs.tasks.mail_invitation", args=[invitation_id])
