"""What a form begins with: the recipe's own vetted values, and for the demo model what suits so small a one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from django.conf import settings

from writer.stories.models import ModelVersion
from writer.studio.kinds import checked, settings_of

USUAL: dict[str, dict[str, Any]] = {
    "dpo": {"overlong": "drop", "epochs": 3, "learner": {"lora": {}, "learning_rate": 5e-6}},
    "sft": {"overlong": "drop", "learner": {"lora": {}, "learning_rate": 1e-4}},
    "reward_model": {"overlong": "drop"},
    "grpo": {"learner": {"lora": {}, "learning_rate": 1e-5}},
    "pretrain": {},
}


def defaults_of(recipe: str, base: ModelVersion | None) -> dict[str, Any]:
    """Settings of a run that nobody has touched."""
    values = USUAL.get(recipe, {})
    small = Path(settings.BASE_DIR) / "demo" / "studio.toml"
    if base is not None and base.root.is_demo and small.exists():
        values = tomllib.loads(small.read_text(encoding="utf-8")).get(recipe, values)
    return settings_of(checked(recipe, values))
