"""Initial values of forms: the defaults of a recipe, and for the demo model values that suit a small model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from writer.stories.models import ModelVersion
from writer.studio.registry import DECLARED, checked, settings_of


def defaults_of(recipe: str, base: ModelVersion | None) -> dict[str, Any]:
    """The initial settings of a run."""
    values: Mapping[str, Any] = DECLARED[recipe].defaults
    small = Path(settings.BASE_DIR) / "demo" / "studio.toml"
    if base is not None and base.root.is_demo and small.exists():
        values = tomllib.loads(small.read_text(encoding="utf-8")).get(recipe, values)
    return settings_of(checked(recipe, values))
