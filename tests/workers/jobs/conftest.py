"""The fixtures of `tests.workers.jobs.house`, here and wherever else they are imported."""

from tests.workers.jobs.house import base, here, house, keeper, queued

__all__ = ["base", "here", "house", "keeper", "queued"]
