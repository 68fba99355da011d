"""A link for setting a new password, which an admin makes and passes on."""

from __future__ import annotations

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.urls import reverse

from writer.accounts.models import User
from writer.refusals import Missing


def password_link(*, user_id: int, site: str = "") -> tuple[User, str]:
    """The link. It is valid once, for `PASSWORD_RESET_TIMEOUT`, until the person signs in or changes the password."""
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise Missing
    key = {"uidb36": user_pk_to_url_str(user), "key": default_token_generator.make_token(user)}
    return user, (settings.SITE_URL or site) + reverse("account_reset_password_from_key", kwargs=key)
