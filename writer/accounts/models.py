"""People, invitations, and the tokens of their scripts."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone


class Role(models.TextChoices):
    WRITER = "writer", "Writer"
    EDITOR = "editor", "Editor"
    ADMIN = "admin", "Admin"


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.full_clean(exclude=["password"])
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """A person. Each role includes the rights of the previous ones: writer, editor, admin."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=80)
    role = models.CharField(max_length=6, choices=Role, default=Role.WRITER)
    is_active = models.BooleanField(default=True)
    joined = models.DateTimeField(default=timezone.now)

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="user_role_known")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_editor(self) -> bool:
        return self.role in (Role.EDITOR, Role.ADMIN)

    @property
    def is_admin(self) -> bool:
        return self.role == Role.ADMIN


def digest(secret: str) -> str:
    """The stored digest of a token, which cannot be used as the token. Tokens have 256 random bits, so no salt is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def in_a_week() -> Any:
    return timezone.now() + timedelta(days=7)


class Invitation(models.Model):
    """A link for making one account. Only its digest is stored; the link is shown once, to the admin who made it."""

    digest = models.CharField(max_length=64, unique=True)
    email = models.EmailField()
    role = models.CharField(max_length=6, choices=Role, default=Role.WRITER)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="invitations_sent")
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(default=in_a_week)
    accepted_by = models.OneToOneField(User, models.CASCADE, null=True, related_name="invitation")

    def __str__(self) -> str:
        return f"{self.role} {self.email}"

    @property
    def is_open(self) -> bool:
        return self.accepted_by_id is None and self.expires > timezone.now()


class ApiToken(models.Model):
    """A personal bearer token. It gives access to the API with the rights of its owner."""

    owner = models.ForeignKey(User, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(null=True, blank=True)
    last_used = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, owner: User, name: str, days: int | None = 365) -> tuple[ApiToken, str]:
        """Make a token. Returns the row, and the token itself, which is shown once."""
        secret = "lh_" + secrets.token_urlsafe(32)
        expires = timezone.now() + timedelta(days=days) if days else None
        return cls.objects.create(owner=owner, name=name, digest=digest(secret), expires=expires), secret


class AuditEvent(models.Model):
    """A line of the audit log. `who` is the name at that time, since the account may be deleted."""

    at = models.DateTimeField(auto_now_add=True)
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    who = models.CharField(max_length=80)
    act = models.CharField(max_length=60, help_text="Room and verb: run.start, role.change")
    about = models.CharField(max_length=300)
    details = models.JSONField(default=dict)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["act", "id"], name="audit_by_act")]

    def __str__(self) -> str:
        return f"{self.who}: {self.act} {self.about}"
