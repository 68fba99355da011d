"""Imports preferences as briefs, takes, pairs and votes, marked as imported."""

from __future__ import annotations

from django.db import transaction

from writer.accounts.models import User
from writer.editorial.models import Pair, PairSource, Vote, VoteSource
from writer.editorial.operations.freeze import brief_asked, take_of
from writer.editorial.snapshots.importing import Preference


def import_preferences(*, by: User, preferences: list[Preference]) -> tuple[int, int]:
    """Import all pairs or none. Returns the numbers of new and of known ones."""
    new = 0
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=by.pk)
        for preference in preferences:
            brief = brief_asked(preference.prompt, by)
            chosen, rejected = take_of(brief, preference.chosen), take_of(brief, preference.rejected)
            pair, made = Pair.objects.get_or_create(
                first=chosen, second=rejected, defaults={"brief": brief, "source": PairSource.IMPORT, "wanted": False}
            )
            new += made
            if made:
                Vote.objects.create(pair=pair, source=VoteSource.IMPORT, preference=-2)
    return new, len(preferences) - new
