"""The site's own prompts for evaluation, held out from all training."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple


class Prompt(NamedTuple):
    title: str
    premise: str


def own_prompts() -> list[Prompt]:
    values = tomllib.loads(Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8"))
    return [Prompt(one["title"], one["premise"]) for one in values["prompt"]]
