"""The fixtures of `tests.workers.jobs.site`, here and wherever else they are imported, and a story that editors read."""

from tests.cast import story, take
from tests.workers.jobs.site import base, here, keeper, queued, site

__all__ = ["base", "here", "keeper", "queued", "site", "story", "take"]
