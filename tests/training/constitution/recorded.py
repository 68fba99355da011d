"""Good texts and a teacher's answers about them, written for these tests: the content of a whole chain, without a model.

`Recorded` answers for a fake teacher. It recognises the text in a question by its first words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w


@dataclass(frozen=True)
class Text:
    text: str
    follows: tuple[str, ...]
    """Keys of the principles that it follows, best first."""
    edits: dict[str, list[tuple[str, str]]]
    """By principle: (find, replace)."""
    author: str = "A. Writer"


PRINCIPLES: list[dict[str, Any]] = [
    {
        "key": "particular-thing",
        "name": "The particular thing",
        "explanation": "Name the thing that is there, not the class it belongs to.",
        "examples": [
            {
                "follows": "She kept the buttons in a tin that had held cough drops.",
                "follows_because": "One tin of one house.",
                "breaks": "She kept some mementos in an old container that stood somewhere about.",
                "breaks_because": "Classes of things.",
            }
        ],
    },
    {
        "key": "no-second-telling",
        "name": "Do not explain what was shown",
        "explanation": "When an image has done its work, stop.",
    },
    {
        "key": "no-moral",
        "name": "End without a moral",
        "explanation": "A story ends in an event, not in what somebody has learned.",
    },
    {"key": "said-is-enough", "name": "Said is enough", "explanation": "Who speaks says or asks; nothing showier."},
]
TEXTS = [
    Text(
        "Old Marten hung the harbour lamp on its hook and wiped the glass with the tail of his shirt.\n\n“Oil for two nights,” said the boy.",
        ("particular-thing", "said-is-enough"),
        {
            "particular-thing": [
                ("wiped the glass with the tail of his shirt", "cleaned it with some piece of cloth or other")
            ],
            "said-is-enough": [("said the boy", "the boy ejaculated")],
        },
    ),
    Text(
        "At dinner his mother laid a fourth place, and nobody moved the plate.\n\nThe soup went round from the left.",
        ("no-second-telling", "no-moral"),
        {
            "no-second-telling": [
                ("nobody moved the plate.", "nobody moved the plate, for none of them could accept that Tom was gone.")
            ],
            "no-moral": [
                ("The soup went round from the left.", "The soup went round, and they learned that grief is shared.")
            ],
        },
        "B. Writer",
    ),
    Text(
        "The ferry had gone when she found his ticket in her glove. She let it fall over the rail, and it took long to reach the water.",
        ("no-moral", "particular-thing"),
        {
            "no-moral": [("it took long to reach the water.", "she understood that to let go is only to begin again.")],
            "particular-thing": [("his ticket in her glove", "something of his that she had with her")],
        },
        "C. Writer",
    ),
    Text(
        "“The bees are dead,” she said.\n\n“All of them?” he asked, and put his hat on the hive as if it were a head.",
        ("said-is-enough", "no-second-telling"),
        {
            "said-is-enough": [("“The bees are dead,” she said.", "“The bees are dead,” she expostulated.")],
            "no-second-telling": [
                ("as if it were a head.", "as if it were a head, which showed how deeply he was moved.")
            ],
        },
        "D. Writer",
    ),
    Text(
        "The clerk counted the coins twice, once with the left hand and once with the right, and wrote two sums in the book.",
        ("particular-thing", "no-moral"),
        {
            "particular-thing": [
                (
                    "the coins twice, once with the left hand and once with the right,",
                    "the money several times in different ways",
                )
            ],
            "no-moral": [("wrote two sums in the book.", "knew that honesty is a lonely trade.")],
        },
        "E. Writer",
    ),
]


def write_inputs(folder: Path, texts: list[Text] | None = None) -> tuple[Path, Path]:
    """Write the data and the constitution; returns both paths."""
    data, constitution = folder / "good.jsonl", folder / "constitution.toml"
    lines = [
        {"id": f"t{n}", "author": one.author, "title": f"T{n}", "text": one.text}
        for n, one in enumerate(texts or TEXTS)
    ]
    data.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    entries = [{"domains": ["fiction"], "tasks": ["write"]} | one for one in PRINCIPLES]
    constitution.write_text(tomli_w.dumps({"principle": entries}), "utf-8")
    return data, constitution


@dataclass
class Recorded:
    texts: list[Text] = field(default_factory=lambda: list(TEXTS))

    def of(self, body: dict[str, Any]) -> Text:
        said = body["messages"][-1]["content"]
        return next(one for one in self.texts if one.text[:30] in said or one.text[-30:] in said)

    def __call__(self, body: dict[str, Any]) -> str:
        said = body["messages"][-1]["content"]
        answer = getattr(self, body["response_format"]["json_schema"]["name"].lower())(self.of(body), said)
        return json.dumps(answer, ensure_ascii=False)

    def fit(self, text: Text, said: str) -> dict[str, Any]:
        numbers = {name: int(number) for number, name in re.findall(r"^(\d+)\. (.*?): ", said, re.MULTILINE)}
        names = {one["key"]: one["name"] for one in PRINCIPLES}
        found = [(key, numbers.get(str(names[key]))) for key in text.follows]
        return {
            "follows": [
                {"quote": text.text[:20], "because": f"It shows {key}.", "principle": n} for key, n in found if n
            ]
        }

    def violation(self, text: Text, said: str) -> dict[str, Any]:
        key = self.asked_key(said)
        edits = [{"find": find, "replace": replace} for find, replace in text.edits[key]]
        return {"because": f"Now it breaks {key}.", "edits": edits}

    def decision(self, text: Text, said: str) -> dict[str, Any]:
        """The version that is not the text itself breaks the principle."""
        fence = re.findall(r"^A (\w{12})$", said, re.MULTILINE)[-1]
        first = said.partition(f"A {fence}\n")[2].partition(f"\nEND OF A {fence}")[0]
        a_breaks = first != text.text
        return {
            "because": "One says too much.",
            "a_breaks": a_breaks,
            "b_breaks": not a_breaks,
            "only_a": [],
            "only_b": [],
        }

    @staticmethod
    def asked_key(said: str) -> str:
        name = re.findall(r"^The principle: (.*)$", said, re.MULTILINE)[0]
        return next(str(one["key"]) for one in PRINCIPLES if one["name"] == name)
