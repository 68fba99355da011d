"""The stages that make data, by name, with their settings. No torch is imported here, so that a page can check a run before anything starts."""

from __future__ import annotations

from training.constitution.settings import PairsSettings, ViolationsSettings
from training.instruct.data_settings import ReferencesSettings, ToolsSettings
from training.instruct.settings import BacktranslateSettings
from training.settings import Settings

STAGES: dict[str, type[Settings]] = {
    "violations": ViolationsSettings,
    "backtranslate": BacktranslateSettings,
    "references": ReferencesSettings,
    "tools": ToolsSettings,
    "pairs": PairsSettings,
}
