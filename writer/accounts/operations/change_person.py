from __future__ import annotations

from django.db import transaction

from writer.accounts.audit import record
from writer.accounts.models import Role, User
from writer.refusals import Missing, NotNow, Refused


def change_person(*, by: User | None, user_id: int, role: str | None = None, active: bool | None = None) -> User:
    """Change the role of a person, or close or open their account. At least one admin remains."""
    if role is not None and role not in Role.values:
        raise Refused("The role must be writer, editor or admin.", field="role")
    with transaction.atomic():
        # Lock all admins in one order: two admins who demote each other must not both succeed.
        admins = set(lock_admins())
        user = User.objects.select_for_update().filter(pk=user_id).first()
        if user is None:
            raise Missing
        before = user.role
        if role is not None:
            user.role = role
        if active is not None:
            user.is_active = active
        if admins == {user.pk} and not (user.is_admin and user.is_active):
            raise NotNow("This is the only admin. Make somebody else an admin first.")
        user.save(update_fields=["role", "is_active"])
        if user.role != before:
            record(by, "role.change", user.name, before=before, after=user.role)
        if active is not None:
            record(by, "account.open" if active else "account.close", user.name)
    return user


def lock_admins() -> list[int]:
    admins = User.objects.filter(role=Role.ADMIN, is_active=True).order_by("pk")
    return list(admins.select_for_update().values_list("pk", flat=True))
