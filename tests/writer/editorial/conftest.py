"""A violation in a text without a story, and one in an offered story with consent for training."""

from __future__ import annotations

import pytest

from tests.writer.editorial.test_store_violations import stored
from writer.accounts.models import User
from writer.editorial.models import Pair, PrincipleVersion, Take, Violation
from writer.editorial.operations.share import share


@pytest.fixture
def violation(pair: Pair, version: PrincipleVersion) -> Violation:
    return stored(pair.first, "The lamp was lit, as always.")[0]


@pytest.fixture
def offered(take: Take, owner: User, version: PrincipleVersion) -> Violation:
    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    return stored(take, "The keeper felt sad about everything.")[0]
