"""The three demo accounts, which exist only with DEBUG. Their random passwords and tokens are kept in var/."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass

from django.conf import settings
from django.db import transaction

from writer.accounts.models import ApiToken, Role, User, digest
from writer.accounts.operations.accept_invitation import make_account

_NAMES = {Role.WRITER: "Willa Writer", Role.EDITOR: "Edgar Editor", Role.ADMIN: "Ada Admin"}


@dataclass(frozen=True)
class DemoAccount:
    name: str
    email: str
    password: str
    token: str
    role: str


def ensure_demo_accounts() -> list[DemoAccount]:
    """Make the accounts, or reset them to the data in var/. Raises RuntimeError without DEBUG."""
    if not settings.DEBUG:
        raise RuntimeError("Demo accounts exist only where DEBUG is set.")
    accounts = _kept()
    with transaction.atomic():
        for account in accounts:
            user = User.objects.filter(email=account.email).first()
            if user is None:
                user = make_account(
                    email=account.email, name=account.name, password=account.password, role=account.role
                )
            elif not user.check_password(account.password):
                user.set_password(account.password)
                user.save(update_fields=["password"])
            User.objects.filter(pk=user.pk).update(role=account.role, is_active=True)
            ApiToken.objects.get_or_create(
                digest=digest(account.token), defaults={"owner": user, "name": "demo", "expires": None}
            )
    return accounts


def _kept() -> list[DemoAccount]:
    path = settings.VAR / "demo_accounts.json"
    if path.exists():
        return [DemoAccount(**account) for account in json.loads(path.read_text())]
    accounts = [
        DemoAccount(
            name, f"{role}@longhand.test", secrets.token_urlsafe(12), "lh_" + secrets.token_urlsafe(32), str(role)
        )
        for role, name in _NAMES.items()
    ]
    settings.VAR.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps([asdict(account) for account in accounts], indent=1))
    return accounts
