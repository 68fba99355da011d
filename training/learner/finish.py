"""The end of a run: its model as a folder that transformers and vLLM load, with a card that says how it came about."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import cast

from transformers import PreTrainedModel

from training.common.errors import disk_errors_explained
from training.common.events import read_events
from training.common.records import Metrics
from training.common.redaction import redact
from training.learner import processes
from training.learner.engine import Learner
from training.learner.export import save_model
from training.learner.probe import fixed_text, learner_logprobs
from training.learner.run import Run

PROBE = 64
"""Tokens of the text by which the export is compared with the learner."""
_CARD = """---
library_name: transformers
pipeline_tag: {task}
tags: [longhand, {recipe}]
---

# {name}

Made by `python -m training {recipe}` from the model in `{model}`{continued}: {steps:,} steps, {tokens:,.0f} tokens.

| measure | at the end |
|---|---:|
{figures}

The run's folder has the curves (`python -m training report`), every event and the settings as used:

```json
{settings}
```

The licence of the model that it was made from still holds, and so do the wishes of those whose texts it learned from.
"""


def finish(run: Run, learner: Learner) -> Path | None:
    """Write the model of a run that came to its end; None for one that was asked to stop before."""
    if not run.finished:
        return None
    folder = run.folder / "model"
    with run.log.phase("export"), disk_errors_explained(folder):
        text = fixed_text(learner.model.config.get_text_config().vocab_size, PROBE)
        probe = text, learner_logprobs(learner, text)
        weights = learner.engine.weights()
        if processes.rank() == 0:
            source, card = run.settings.model, _card(run, learner.model)
            save_model(
                weights, learner.model, source, folder, card, run.settings.learner, probe, run.began_with["base"]
            )
        processes.barrier()
    run.log.model_saved(folder)
    return folder


def _card(run: Run, model: PreTrainedModel) -> str:
    settings = run.settings
    metrics: dict[int, dict[str, float]] = defaultdict(dict)  # of a step that was done again, the later values count
    last: dict[str, float] = {}
    for event in read_events(run.folder / "events.jsonl"):
        if isinstance(event, Metrics):
            metrics[event.step] |= event.values
            last |= event.values
    figures = [name for name in last if any(word in name for word in ("loss", "margin", "accuracy"))]
    recipe = cast("str", settings.model_dump()["recipe"])
    return _CARD.format(
        task="text-classification" if hasattr(model, "score") else "text-generation",
        recipe=recipe,
        name=f"{settings.model.name}, {recipe}",
        model=settings.model.name,
        continued=", whose adapter it continues" if settings.adapter else "",
        steps=run.total,
        tokens=sum(values.get("tokens", 0) for values in metrics.values()),
        figures="\n".join(f"| {name.replace('_', ' ')} | {last[name]:.4g} |" for name in figures),
        settings=redact(
            settings.model_dump_json(indent=2, exclude={"run_dir", "data", "held_out", "model", "adapter"})
        ),
    )
