"""The card (README.md) of a data set that a stage made, in Hugging Face's format: what it holds, what was left out, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_CARD = """---
pretty_name: {title}
tags: [longhand]
configs:
- config_name: default
  data_files:
{files}
---

# {title}

{about}

{tables}

{how}
"""
_WITH_TEACHER = """The teacher was asked {asked:,} questions, with {tokens_in:,} tokens in and {tokens_out:,} tokens out{money}. `settings.json` beside this
folder has the settings, `calls.jsonl` has each question and its answer, and the same command with `replay` makes the same files from them."""
_WITHOUT_TEACHER = (
    "`settings.json` beside this folder has the settings; the same command makes the same files from the same input."
)


class Table(NamedTuple):
    """A section of a card, as a Markdown table."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]

    def __str__(self) -> str:
        lines = [
            self.columns,
            tuple("---:" if _is_number(self.rows, place) else "---" for place in range(len(self.columns))),
        ]
        lines += [tuple(_shown(cell) for cell in row) for row in self.rows]
        return f"## {self.name}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def dataset_card(title: str, about: str, report: Mapping[str, Any], *tables: Table) -> str:
    """Return the text of a card. `report` has the number of `rows` by file and, where a teacher was asked, its `cost`."""
    rows, cost = report["rows"], report.get("cost")
    files = "\n".join(f"  - split: {name}\n    path: {name}.jsonl" for name, number in rows.items() if number)
    counts = Table("Rows", ("rows", "file"), [(number, f"`{name}.jsonl`") for name, number in rows.items()])
    return _CARD.format(
        title=title,
        about=about,
        files=files,
        tables="\n\n".join(str(table) for table in (counts, *tables) if table.rows),
        how=_with_teacher(cost) if cost else _WITHOUT_TEACHER,
    )


def _with_teacher(cost: Mapping[str, float]) -> str:
    return _WITH_TEACHER.format(
        money=f", for {cost['money']:.2f} at the prices of the settings" if cost["money"] else "",
        **{name: int(cost[name]) for name in ("asked", "tokens_in", "tokens_out")},
    )


def _is_number(rows: Sequence[tuple[Any, ...]], place: int) -> bool:
    return bool(rows) and isinstance(rows[0][place], (int, float))


def _shown(cell: Any) -> str:
    text = f"{cell:,}" if isinstance(cell, int) else str(cell)
    return text.replace("|", "\\|").replace("\n", " ")
