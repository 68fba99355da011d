from __future__ import annotations

from django.db import transaction

from writer.accounts.models import Invitation, User
from writer.accounts.operations.change_person import lock_admins
from writer.refusals import NotNow


def delete_account(*, user: User) -> None:
    """Delete a person: account, tokens, sessions and invitation. Their stories must have been deleted before."""
    with transaction.atomic():
        if lock_admins() == [user.pk]:
            raise NotNow("You are the only admin. Make somebody else an admin first.")
        Invitation.objects.filter(accepted_by=user).delete()
        user.delete()
