"""Conversations with a passage: which passage, in which template, and never one that reveals the answer."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st

from tests.training.conftest import CORPUS
from tests.training.models import write_lines
from training.common.errors import MendableError
from training.common.text import count_words
from training.corpus.stories import read_stories
from training.datasets.jsonl import Conversation, read_jsonl
from training.instruct import similar
from training.instruct.data_settings import ReferencesSettings
from training.instruct.references import NGRAM, _ngrams, references, templates
from training.instruct.similar import Similar, cut_passages
from training.teacher.fences import fence_of

FIELDS = {
    "sea": [
        "harbour",
        "sail",
        "tide",
        "captain",
        "rope",
        "anchor",
        "gull",
        "wave",
        "deck",
        "mast",
        "storm",
        "salt",
        "fog",
        "pier",
        "net",
        "oar",
    ],
    "farm": [
        "barn",
        "cow",
        "plough",
        "harvest",
        "hay",
        "orchard",
        "fence",
        "goat",
        "milk",
        "field",
        "stable",
        "corn",
        "pig",
        "seed",
        "rake",
        "well",
    ],
    "court": [
        "judge",
        "jury",
        "verdict",
        "witness",
        "oath",
        "lawyer",
        "bench",
        "clerk",
        "guilty",
        "sentence",
        "trial",
        "law",
        "bail",
        "robe",
        "gavel",
        "plea",
    ],
}
SMALL = ["the", "a", "and", "of", "in", "was", "she", "he", "it", "there", "then", "with", "at"]


def about(field: str, seed: int, sentences: int = 12) -> str:
    """A generated text of three paragraphs, mostly with the words of its field."""
    rng = random.Random(f"{field}/{seed}")
    said = [
        " ".join(rng.choice(FIELDS[field] if rng.random() < 0.5 else SMALL) for _ in range(10)).capitalize() + "."
        for _ in range(sentences)
    ]
    third = sentences // 3
    return "\n\n".join(" ".join(said[first : first + third]) for first in range(0, sentences, third))


def talk(field: str, seed: int, **more: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": f"Write of the {field}, {seed}."}
    return {"id": f"{field}{seed}", "messages": [asked, {"role": "assistant", "content": about(field, seed)}]} | more


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., ReferencesSettings]:
    rows = [talk(field, number, mine=number) for number in range(20) for field in FIELDS]
    texts = [
        {"id": f"text-{field}{number}", "text": about(field, number)} for number in range(100, 104) for field in FIELDS
    ]

    def made(
        run: str = "run",
        *,
        rows: list[dict[str, Any]] = rows,
        texts: list[dict[str, Any]] = texts,
        held_out: list[dict[str, Any]] | None = None,
        **changes: Any,
    ) -> ReferencesSettings:
        values = {
            "run_dir": tmp_path / run,
            "data": [write_lines(tmp_path / f"{run}-data.jsonl", rows)],
            "held_out": [write_lines(tmp_path / f"{run}-held.jsonl", held_out)] if held_out else [],
            "corpus": [write_lines(tmp_path / f"{run}-corpus.jsonl", texts)],
            "share": 0.5,
            "passage_words": 40,
            "irrelevant_similarity": 0.2,
            "min_similarity": 0.25,
        }
        return ReferencesSettings.model_validate(values | changes)

    return made


def rows_of(folder: Path, name: str = "train") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_a_share_of_the_rows_gets_a_passage(settings: Callable[..., ReferencesSettings]) -> None:
    """A relevant passage is from the field of the answer, an irrelevant one from another. Nothing else of the rows changes."""
    folder = references(settings())
    rows = rows_of(folder)
    given = [row for row in rows if "reference" in row]
    assert (len(rows), len(given)) == (60, 30)
    assert Counter(row["reference"]["helps"] for row in given) == {True: 24, False: 6}
    passages = {passage for field in FIELDS for n in range(100, 104) for passage in cut_passages(about(field, n), 40)}
    for row, before in zip(rows, [talk(field, number, mine=number) for number in range(20) for field in FIELDS]):
        reference = row.pop("reference", None)
        if reference is None:
            assert row == before
            continue
        asked = row["messages"][0]["content"]
        [passage] = [one for one in passages if one in asked]
        assert before["messages"][0]["content"] in asked
        row["messages"][0] = before["messages"][0]
        assert row == before
        relevant = row["id"].rstrip("0123456789") in reference["text"]
        assert relevant == reference["helps"]
        assert passage in next(
            about(field, n) for field in FIELDS for n in range(100, 104) if f"text-{field}{n}" == reference["text"]
        )
    assert len(list(read_jsonl([folder / "train.jsonl"], Conversation))) == 60
    used = Counter(row["reference"]["template"] for row in given_of(folder))
    assert len(used) == len(templates())
    assert max(used.values()) - min(used.values()) <= 1


def given_of(folder: Path, name: str = "train") -> list[dict[str, Any]]:
    return [row for row in rows_of(folder, name) if "reference" in row]


def test_the_report_and_the_card(settings: Callable[..., ReferencesSettings]) -> None:
    folder = references(settings(held_out=[talk("sea", 900 + number) for number in range(4)]))
    report = json.loads((folder / "report.json").read_text())
    assert report["rows"] == {"train": 60, "held_out": 4}
    assert report["given"] == {"relevant": 24 + 2, "irrelevant": 6}
    assert report["without"] == {}
    assert sum(report["templates"].values()) == 32
    assert 0.25 <= report["similarity"]["10%"] <= report["similarity"]["90%"] <= 0.8
    card = (folder / "README.md").read_text()
    assert "| 26 | relevant |" in card
    assert "questions" not in card
    assert "path: held_out.jsonl" in card


def test_the_same_input_gives_the_same_files(settings: Callable[..., ReferencesSettings]) -> None:
    """The order of the lines changes only the order of the rows; another seed selects other rows."""
    one, again = references(settings("one")), references(settings("again"))
    for path in one.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    made = settings("turned")
    for path in (*made.data, *made.corpus):
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    by_id = {row["id"]: row.get("reference", {}).get("text") for row in rows_of(one)}
    assert {row["id"]: row.get("reference", {}).get("text") for row in rows_of(references(made))} == by_id
    other = {row["id"]: row.get("reference", {}).get("text") for row in rows_of(references(settings("two", seed=2)))}
    assert other != by_id


@pytest.mark.parametrize("shared", ["answer", "request", "id"])
def test_a_row_gets_no_passage_of_its_own_story(settings: Callable[..., ReferencesSettings], shared: str) -> None:
    """The story that an answer comes from is by far the most similar; none of its passages is used."""
    story = about("sea", 1) + "\n\n" + about("sea", 2)
    row = talk("sea", 1)
    row["messages"][1]["content"] = " ".join(random.Random(0).choices(FIELDS["sea"], k=60))
    if shared == "answer":
        row["messages"][1]["content"] += " " + " ".join(story.split()[-(NGRAM + 12) : -12])
    elif shared == "request":
        row["messages"][0]["content"] += " " + " ".join(story.split()[-NGRAM:]).upper()
    else:
        row["story"] = "own"
    texts = [{"id": "own", "text": story}, {"id": "other", "text": about("sea", 3)}]
    all_of_them = {
        "rows": [row],
        "texts": texts,
        "share": 1,
        "irrelevant_share": 0,
        "min_similarity": 0.01,
        "irrelevant_similarity": 0,
    }
    [made] = rows_of(references(settings(**all_of_them)))
    assert made["reference"]["text"] == "other"
    del all_of_them["texts"][1]  # type: ignore[attr-defined]
    folder = references(settings("alone", **all_of_them))
    assert rows_of(folder) == [row]
    assert [one["reason"] for one in rows_of(folder, "rejected")] == ["no_passage"]
    shorter = [{"id": "other", "text": story}]  # without the words or the id in common
    if shared == "id":
        [made] = rows_of(references(settings("shorter", **(all_of_them | {"texts": shorter}))))
        assert made["reference"]["text"] == "other"


def test_held_out_texts_are_not_used_for_training_rows(settings: Callable[..., ReferencesSettings]) -> None:
    """Neither a text marked as held out, nor one that shares words with a held-out conversation."""
    held = talk("sea", 500)
    texts = [
        {"id": "said", "text": about("sea", 600), "held_out": True},
        {"id": "shares", "text": held["messages"][1]["content"] + "\n\n" + about("sea", 601)},
        {"id": "free", "text": about("sea", 602)},
    ]
    rows = [talk("sea", number) for number in range(8)]
    folder = references(settings(rows=rows, texts=texts, held_out=[held], share=1, irrelevant_share=0))
    assert {row["reference"]["text"] for row in given_of(folder)} == {"free"}
    assert len(given_of(folder)) == 8
    assert {row["reference"]["text"] for row in given_of(folder, "held_out")} <= {"said", "free"}


def test_rows_that_cannot_have_a_passage(settings: Callable[..., ReferencesSettings]) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": {}}}]}
    rows = [
        talk("sea", 1, reference={"text": "one"}),
        {"messages": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}]},
        {"messages": [{"role": "user", "content": "Look."}, call]},
        {"messages": [{"role": "assistant", "content": about("sea", 2)}]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "assistant", "content": about("sea", 3)}]},
    ]
    folder = references(settings(rows=rows, share=1))
    assert rows_of(folder) == rows
    assert json.loads((folder / "report.json").read_text())["given"] == {"relevant": 0, "irrelevant": 0}


def test_rows_with_prompt_and_completion(settings: Callable[..., ReferencesSettings]) -> None:
    """The passage is added to the last request."""
    turns = talk("farm", 5)["messages"]
    prompt = [{"role": "system", "content": "Be brief."}, *talk("sea", 6)["messages"], turns[0]]
    row = {"prompt": prompt, "completion": turns[1:]}
    [made] = rows_of(references(settings(rows=[row], share=1, irrelevant_share=0)))
    assert made["prompt"][:3] == prompt[:3]
    assert made["completion"] == row["completion"]
    assert made["prompt"][3]["content"] != prompt[3]["content"]
    assert made["reference"]["text"].startswith("text-farm")


def test_each_template_bounds_the_passage() -> None:
    """The passage is between two lines with a fence that it does not contain; braces in it, or in a request, are not placeholders."""
    assert len(templates()) >= 10
    assert len({one.key for one in templates()}) == len({one.text for one in templates()}) == len(templates())
    passage, request = "Ignore {request} and END {fence}.\n\nObey {passage}!", "Write {passage} of {fence}."
    before = 0
    for template in templates():
        made = template.filled(request, passage)
        assert (made.count(passage), made.count(request)) == (1, 1)
        head, _, foot = made.partition(passage)

        fence = fence_of([passage])
        assert fence in head.split("\n")[-2]
        assert fence in foot.split("\n")[1]
        assert fence not in passage
        before += made.index(passage) < made.index(request)
    assert 3 <= before <= len(templates()) - 3


# Similarity


def slow_best(passages: list[str], text: str) -> int:
    """The definition of TF-IDF, with dictionaries."""
    counts = [Counter(one.lower().replace(".", "").split()) for one in [*passages, text]]
    having = Counter(word for one in counts[:-1] for word in one)
    weighed = [
        {word: (1 + np.log(count)) * np.log((1 + len(passages)) / (1 + having[word])) for word, count in one.items()}
        for one in counts
    ]
    lengths = [np.sqrt(sum(value**2 for value in one.values())) or 1 for one in weighed]
    cosines = [
        sum(value * weighed[-1].get(word, 0) for word, value in one.items()) / length / lengths[-1]
        for one, length in zip(weighed[:-1], lengths)
    ]
    return int(np.argmax(np.round(cosines, 6)))


@of_hypothesis(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(0, 10**6), st.integers(1, 7))
def test_the_best_passage_follows_the_definition(number: int, seed: int, block: int) -> None:
    """With blocks of any size."""
    rng = random.Random(seed)
    passages = [about(rng.choice(list(FIELDS)), rng.randrange(99), 3) for _ in range(number)]
    text = about(rng.choice(list(FIELDS)), 1000 + seed, 3)
    before, similar.BLOCK = similar.BLOCK, block
    try:
        found = Similar(passages)
        [best] = found.best(found.vectors([text]), [np.zeros(number, bool)], limit=1.0)
    finally:
        similar.BLOCK = before
    expected = slow_best(passages, text)
    assert best is None or best.passage == expected
    if best is None:
        assert found.similarities(found.vectors([text]), [expected])[0] == 0


def test_a_worked_example() -> None:
    found = Similar(
        ["The lamp stood by the harbour.", "The cow stood in the barn.", "The lamp, the harbour, the lamp."]
    )
    texts = found.vectors(["A harbour lamp", "Barns and a cow", "Nothing else"])
    free = np.zeros(3, bool)
    assert [one and one.passage for one in found.best(texts, [free] * 3, limit=1.0)] == [2, 1, None]
    assert [one and one.passage for one in found.best(texts, [free, ~free, free], limit=1.0)] == [2, None, None]
    assert [one and one.passage for one in found.best(texts, [np.array([0, 0, 1], bool)] * 3, limit=1.0)] == [
        0,
        1,
        None,
    ]
    assert found.similarities(found.vectors(["The lamp stood by the harbour."]), [0]).tolist() == [1.0]
    assert [one and one.passage for one in found.best(texts, [free] * 3, limit=0.1)] == [None, None, None]


def test_passages_are_whole_paragraphs() -> None:
    blocks = [" ".join(["word"] * number) for number in (30, 30, 50, 200, 45, 5, 70)]
    text = "\n\n".join([*blocks[:5], "* * *", blocks[5], "## Two", blocks[6]])
    assert [count_words(one) for one in cut_passages(text, 60)] == [60, 50, 45, 70]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rows": []}, "contain no conversation"),
        ({"texts": [{"text": "Short."}]}, "no passage of the requested length"),
        ({"rows": [{"messages": [{"role": "user", "content": "x"}]}]}, "line 1 is not a line: .*not the assistant's"),
    ],
)
def test_errors_name_the_cause(settings: Callable[..., ReferencesSettings], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(MendableError, match=says):
        references(settings(**changes))


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not here")
def test_on_the_corpus(settings: Callable[..., ReferencesSettings]) -> None:
    """Real answers, each a passage of a story in the corpus: no row gets a passage of its own story."""
    stories = [one for one in read_stories(CORPUS) if 500 < count_words(one.text) < 4000][:60]
    rows = [
        {
            "id": f"row {one.id}",
            "messages": [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": passages[1]}],
        }
        for one in stories
        if len(passages := cut_passages(one.text, 150)) > 2
    ]
    texts = [{"id": one.id, "text": one.text} for one in stories]
    folder = references(
        settings(rows=rows, texts=texts, share=1, passage_words=150, irrelevant_similarity=0.03, min_similarity=0.04)
    )
    given = given_of(folder)
    assert len(given) > len(rows) / 2
    whole = {one.id: one.text for one in stories}
    relevant: list[float] = []
    irrelevant: list[float] = []
    for row in given:
        assert row["id"] != f"row {row['reference']['text']}"
        own, shown = (
            set(_ngrams(text).tolist()) for text in (row["messages"][1]["content"], whole[row["reference"]["text"]])
        )
        assert not own & shown
        (relevant if row["reference"]["helps"] else irrelevant).append(row["reference"]["similarity"])
    assert min(relevant) > max(irrelevant)
