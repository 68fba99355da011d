from __future__ import annotations

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from writer.accounts.checks import checked_name
from writer.accounts.models import Invitation, User, digest
from writer.refusals import Missing, NotNow, Refused


def invitation_of(secret: str) -> Invitation:
    """The invitation of a link. Raises `Missing` if there is none, or a newer one has replaced it."""
    found = Invitation.objects.filter(digest=digest(secret)).first()
    if found is None:
        raise Missing
    return found


def accept_invitation(*, secret: str, name: str, password: str) -> User:
    """Make the account. A link can be used only once, even by two requests at the same time."""
    name = checked_name(name)
    with transaction.atomic():
        invitation = Invitation.objects.select_for_update().filter(digest=digest(secret)).first()
        if invitation is None:
            raise Missing
        if not invitation.is_open:
            raise NotNow("This invitation has been used or has expired. Ask for a new one.")
        try:
            validate_password(password, User(email=invitation.email, name=name))
        except ValidationError as error:
            raise Refused(" ".join(error.messages), field="password") from None
        user = make_account(email=invitation.email, name=name, password=password, role=invitation.role)
        invitation.accepted_by = user
        invitation.save(update_fields=["accepted_by"])
    return user


def make_account(*, email: str, name: str, password: str, role: str) -> User:
    """Make an account. Its address counts as verified, since the invitation was sent to it or passed on by an admin."""
    user = User.objects.create_user(email, password, name=name, role=role)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user
