"""Initial values of forms: the defaults of a recipe, and values that suit a small model, or a processor instead of GPUs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from writer.stories.models import ModelVersion
from writer.studio.adapters import adapted_version, lora_of
from writer.studio.models import Gpu
from writer.studio.registry import DECLARED, checked, is_stage, settings_of


def defaults_of(recipe: str, base: ModelVersion | None) -> dict[str, Any]:
    """The initial settings of a run. It continues the adapter of its base, if it has one, unless the recipe trains all weights by default."""
    values: Mapping[str, Any] = DECLARED[recipe].defaults
    if base is not None:
        name = "studio.toml" if base.root.is_demo else "processor.toml" if on_processor(base) else ""
        small = Path(settings.BASE_DIR) / "demo" / name
        if name and small.exists():
            values = tomllib.loads(small.read_text(encoding="utf-8")).get(recipe, values)
    found = settings_of(checked(recipe, values))
    if base is not None and not is_stage(recipe) and (adapted := adapted_version(base)):
        if found["learner"]["lora"] and adapted.retired is None:
            found["learner"]["lora"] |= lora_of(base)
        else:
            found["merge_adapter"] = True
    return found


def on_processor(version: ModelVersion) -> bool:
    """Whether this site has no GPU to train and measure a version: its machines have none, or it serves the starter model and knows none yet."""
    memories = set(Gpu.objects.values_list("memory", flat=True))
    return not any(memories) and (bool(memories) or version.root.is_starter)
