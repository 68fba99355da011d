"""The Celery tasks: mail, snapshots, the nightly clean-up, and the studio's reports."""

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
    """Mail the link. The task contains only the id, so that the link is not in the broker."""
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
    """Delete expired sessions, and invitations and tokens that expired a month ago. Texts and logs are never deleted."""
    call_command("clearsessions")
    before = timezone.now() - KEEP_DEAD
    invitations, _ = Invitation.objects.filter(accepted_by=None, expires__lt=before).delete()
    tokens, _ = ApiToken.objects.filter(expires__lt=before).delete()
    log.info("cleared_away", invitations=invitations, expired=tokens)


@shared_task  # type: ignore[untyped-decorator,unused-ignore]
def make_snapshot(snapshot_id: int) -> None:
    """Make the rows of a requested snapshot. Idempotent."""
    made = make(snapshot_id=snapshot_id)
    if made is not None:
        log.info("snapshot_made", number=made.number, rows=made.rows, sha256=made.sha256)


# Tasks of the studio's queue


@shared_task  # type: ignore[untyped-decorator,unused-ignore]
def look_after_studio() -> None:
    """Wake the keepers now instead of in a few seconds."""
    periodic.wake_all()


@shared_task  # type: ignore[untyped-decorator,unused-ignore]
def evaluate_version(evaluation_id: int) -> None:
    """Make the report of a version. Idempotent."""
    evaluate(evaluation_id)
