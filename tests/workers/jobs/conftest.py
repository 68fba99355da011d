"""The fixtures of `tests.workers.jobs.house`, here and wherever else they are imported, and a story that editors read."""

from tests.cast import story, take
from tests.workers.jobs.house import base, here, house, keeper, queued

__all__ = ["base", "here", "house", "keeper", "queued", "story", "take"]
