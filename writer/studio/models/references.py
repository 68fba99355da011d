"""Whole stories by people, with which versions are compared in arenas. They are never used for training."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from writer.editorial.models import Take

AUTHOR_CHARS, SOURCE_CHARS = 200, 500


class Reference(models.Model):
    """Marks a take as written by a person. Its brief belongs to no story, and asks for as many words as the take has."""

    take = models.OneToOneField(Take, models.PROTECT, related_name="+")
    author = models.CharField(max_length=AUTHOR_CHARS, help_text="Who wrote it")
    source = models.CharField(max_length=SOURCE_CHARS, blank=True, help_text="Where it is from")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", help_text="Who imported it"
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"reference {self.pk} by {self.author}"
