"""Requests the report of a version, for a person or after a run."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from writer.accounts.audit import record
from writer.accounts.models import User
from writer.refusals import Missing, NotNow
from writer.stories.models import ModelVersion
from writer.stories.operations.deploy import in_service_or_none
from writer.studio.defaults import on_processor
from writer.studio.models import Evaluation
from writer.studio.wake import call_keepers

EACH, EACH_ON_A_PROCESSOR = 5, 2
"""Stories in each length bucket: fewer on a processor, where the demo model always runs."""
CONTEXT_ON_A_PROCESSOR = 2048
"""Tokens of a request and its story at most: a processor takes far too long for stories that fill the starter model's 8,192."""


def ask_evaluation(*, by: User, version_id: int) -> Evaluation:
    version = ModelVersion.objects.filter(pk=version_id, writes=True, retired=None).first()
    if version is None:
        raise Missing
    with transaction.atomic():
        try:
            with transaction.atomic():
                asked = evaluate_new(version, by=by)
        except IntegrityError:
            raise NotNow("It is being evaluated already.") from None
        record(by, "version.evaluate", version.name)
    return asked


def evaluate_new(version: ModelVersion, *, by: User | None = None) -> Evaluation:
    champion = in_service_or_none()
    slow = version.root.is_demo or on_processor(version)
    asked = Evaluation.objects.create(
        version=version,
        against=champion if champion and champion.pk != version.pk else None,
        each=EACH_ON_A_PROCESSOR if slow else EACH,
        context=CONTEXT_ON_A_PROCESSOR if slow else 0,
        by=by,
    )
    transaction.on_commit(call_keepers)
    return asked
