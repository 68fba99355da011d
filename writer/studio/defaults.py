"""Initial values of forms: the defaults of a recipe, and values that suit a small model, or a processor instead of GPUs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from writer.stories.models import ModelVersion
from writer.studio.models import Gpu
from writer.studio.registry import DECLARED, checked, settings_of


def defaults_of(recipe: str, base: ModelVersion | None) -> dict[str, Any]:
    """The initial settings of a run."""
    values: Mapping[str, Any] = DECLARED[recipe].defaults
    if base is not None:
        name = "studio.toml" if base.root.is_demo else "processor.toml" if on_processor(base) else ""
        small = Path(settings.BASE_DIR) / "demo" / name
        if name and small.exists():
            values = tomllib.loads(small.read_text(encoding="utf-8")).get(recipe, values)
    return settings_of(checked(recipe, values))


def on_processor(version: ModelVersion) -> bool:
    """Whether this site has no GPU to train and measure a version: its machines have none, or it serves the starter model and knows none yet."""
    memories = set(Gpu.objects.values_list("memory", flat=True))
    return not any(memories) and (bool(memories) or version.root.is_starter)
