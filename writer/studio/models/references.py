"""Whole stories by people, which versions are compared with in an arena and never learn from."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from writer.editorial.models import Take

AUTHOR_CHARS, SOURCE_CHARS = 200, 500


class Reference(models.Model):
    """That a take was written by a person. Its brief is nobody's story, and asks for as many words as the take has."""

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
