"""Defines who may see what. Views, sockets and tasks use these querysets instead of filtering by owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from writer.accounts.models import User
    from writer.stories.models import Generation, Story  # noqa: F401  (named in the bases)


class StoryQuerySet(models.QuerySet["Story"]):
    def for_user(self, user: User) -> StoryQuerySet:
        """The stories of this person. No role may see those of others."""
        return self.filter(owner_id=user.pk, blind=False)


class GenerationQuerySet(models.QuerySet["Generation"]):
    def for_user(self, user: User) -> GenerationQuerySet:
        return self.filter(story__owner_id=user.pk, story__blind=False)

    def live(self) -> GenerationQuerySet:
        return self.filter(state__in=("queued", "running", "paused"))
