"""docs/models.md: the table of families, from the results of their tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.families import FAMILIES, LINES, Cell, Family, Key, Line, expected
from tests.published import SOURCES

PATH = Path(__file__).parents[2] / "docs" / "models.md"
_BEGIN = """# Models

What holds of each family of published models, when it is trained here and served. Every cell is the result of tests, on tiny
models with random weights in the published layout and under the published names, with the tokenizer and chat template
named below. `make models` runs all of them and writes this page; `make test` runs those without vLLM. Other dense models are
trained where the check at load finds that they compute here what transformers computes.
"""
_BOUNDS = """
Equal means: the same tokens; log-probabilities that differ by at most 0.001 nats in the check at load, and by at most 0.0001 between
the trained model and its result, and between it and vLLM. vLLM ran on a processor, in float32, but for Qwen3.5, whose
recurrent layers it computes there in bfloat16 only: its log-probabilities differ by at most 0.005 nats on average and 0.02 in
one token. For Qwen3.5 a stand-in had the place of torchvision. No GPU took part.
"""


def all_expected() -> dict[Key, Cell]:
    return {(line, family): expected(line, family) for line in LINES for family in FAMILIES}


def page(cells: Mapping[Key, Cell]) -> str:
    """Return the page for the results of all cells."""
    notes: dict[tuple[str, str], int] = {}

    def shown(line: Line, family: Family) -> str:
        cell = cells[line, family]
        if not cell.sentence:
            return cell.result
        number = notes.setdefault((cell.result, cell.sentence.format("…")), len(notes) + 1)
        return f"{cell.result} ({number})"

    rows = [[what, *(shown(line, family) for family in FAMILIES)] for line, what in LINES.items()]
    listed = [f"{number}. {result.capitalize()}: {sentence}" for (result, sentence), number in notes.items()]
    return "\n".join(
        [_BEGIN, *_table(["", *(one.name for one in FAMILIES)], rows), "", *listed, _BOUNDS, "## What the tests use", "", *_sources(), ""]
    )  # fmt: skip


def _sources() -> list[str]:
    rows = []
    for one in FAMILIES:
        source = SOURCES[one.tokens]
        template = f"`{source.template}` of TRL" if source.template else "a file of the tests"
        head = "tied" if one.changes.get("tie_word_embeddings") or one.kind == "gemma3" else "its own"
        rows.append([one.name, f"`{one.kind}`", f"`@lenml/tokenizer-{source.tokenizer}`", template, head, source.kin])
    return _table(["Family", "model_type", "Tokenizer (npm)", "Chat template", "Head", "What stands in"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(one)} |" for one in (heads, ["---"] * len(heads), *rows)]
