"""The tasks of the workers: mail, data sets, what is cleared away every night, and the studio's reports."""

from __future__ import annotations

from datetime import timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.core.mail import send_mail
from django.core.management import call_command
from django.utils import timezone

from workers import periodic
from workers.jobs.evaluate import evaluate
from writer.accounts.models import ApiToken, Invitation
from writer.accounts.operations.invite import link_of
from writer.editorial.operations.make_snapshot import make_snapshot as make

KEEP_DEAD = timedelta(days=30)

log = structlog.get_logger()


@shared_task(autoretry_for=(OSError,), retry_backoff=10, max_retries=5)  # type: ignore[untyped-decorator,unused-ignore]
def mail_invitation(invitation_id: int) -> None:
    """Mail the link. The task carries the number only: whoever reads the broker learns no link."""
    invitation = Invitation.objects.select_related("invited_by").filter(pk=invitation_id).first()
    if invitation is None or not invitation.is_open:
        return
    host = invitation.invited_by.name if invitation.invited_by else "Somebody"
    send_mail(
        "You are invited to Longhand",
        f"{host} invites you to Longhand, a room for writing stories.\n\n"
        f"Open this link to make your account. It works once, and for seven days:\n\n{link_of(invitation)}\n",
        settings.DEFAULT_FROM_EMAIL,
        [invitation.email],
    )
    log.info("invitation_mailed", invitation=invitation_id)


@shared_task  # type: ignore[untyped-decorator,unused-ignore]
def clear_away() -> None:
    """Sessions that ended, and invitations and tokens that ran out a month ago. Texts and logs are never cleared away."""
    call_command("clearsessions")
    before = timezone.now() - KEEP_DEAD
    invitations, _ = Invitation.objects.filter(accepted_by=None, expires__lt=before).delete()
    tokens, _ = ApiToken.objects.filter(expires__lt=before).delete()
    log.info("cleared_away", invitations=invitations, expired=tokens)


@shared_task  # type: ignore[untyped-decorator,unused-ignore]
def make_snapshot(snapshot_id: int) -> None:
    """The rows of a snapshot that was asked for. Delivered twice it is made once."""
    made = make(snapshot_id=snapshot_id)
    if made is not None:
        log.info("snapshot_made", number=made.number, rows=made.rows, sha256=made.sha256)


# The studio, in the workers that take from its queue


@shared_task  # type: ignore[untyped-decorator,unused-ignore]
def look_after_studio() -> None:
    """Have the keepers look now instead of in a few seconds."""
    periodic.wake_all()


@shared_task  # type: ignore[untyped-decorator,unused-ignore]
def evaluate_version(evaluation_id: int) -> None:
    """The report of a version. Delivered twice it is made once."""
    evaluate(evaluation_id)
