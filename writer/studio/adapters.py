"""Adapters of versions: whose weights they change, and the runs that continue them."""

from __future__ import annotations

from typing import Any

from writer.stories.models import ModelVersion
from writer.studio.models import Run


def adapted_version(version: ModelVersion) -> ModelVersion | None:
    """The version whose weights the adapter of this one changes; None if it has no adapter.

    It is the version's parent, unless the run that made it continued the parent's adapter.
    """
    if not any(name.startswith("adapter/") for name in version.manifest):
        return None
    run = made_by(version)
    return (continued_version(run) if run else None) or version.parent


def continued_version(run: Run) -> ModelVersion | None:
    """The version whose weights stay as they are while the run continues the adapter of its base; None if it begins from the base's whole weights.

    Runs of earlier releases have no such setting: all of them began from whole weights.
    """
    if run.base is None or run.settings.get("merge_adapter", True):
        return None
    return adapted_version(run.base)


def lora_of(version: ModelVersion) -> dict[str, Any]:
    """The rank and alpha of the version's adapter."""
    run = made_by(version)
    lora = run.settings["learner"]["lora"] if run else {}
    return {name: lora[name] for name in ("rank", "alpha") if name in lora}


def made_by(version: ModelVersion) -> Run | None:
    """The run that made the version; None for one that was imported, for the site's own, and for one that is not stored."""
    if not version.pk:
        return None
    return Run.objects.select_related("base__parent").filter(version=version).first()
