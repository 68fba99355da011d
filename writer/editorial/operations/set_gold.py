from __future__ import annotations

from uuid import UUID

from django.db import transaction

from writer.accounts.models import User
from writer.editorial.models import Pair, Vote
from writer.refusals import Missing, NotNow
from writer.stories.text import checked_text


def set_gold(*, by: User, reading_id: UUID, gold: bool, because: str = "") -> Pair:
    """Make the pair of this reading a gold pair, whose known answer is this person's vote; or an ordinary one again.

    Every editor gets a gold pair once, and it is never used for training.
    """
    because = checked_text(because, "because", most=1000, required=gold)
    with transaction.atomic():
        pair = Pair.objects.select_for_update(of=("self",)).filter(readings=reading_id, readings__editor=by).first()
        if pair is None or not by.is_admin:
            raise Missing
        vote = Vote.objects.filter(pair=pair, by=by, undone=None).first()
        if gold and vote is None:
            raise NotNow("Vote first: your vote becomes the known answer.")
        pair.gold = vote.preference if gold and vote else None
        pair.gold_because = because if gold else ""
        pair.save(update_fields=["gold", "gold_because"])
    return pair
