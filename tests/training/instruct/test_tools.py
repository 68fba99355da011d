"""The tools of a writing room, situations in which they are called, and the chain to checked rows, with a fake teacher."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st

from tests.training.conftest import CORPUS, ROOT, made_up_story
from tests.training.constitution.recorded import PRINCIPLES
from tests.training.models import write_lines
from tests.training.teacher.fake import FakeTeacher
from training.common.errors import MendableError
from training.common.records import Principle
from training.common.text import count_words
from training.corpus.stories import read_stories
from training.datasets.jsonl import Conversation, read_jsonl
from training.datasets.rejected import Rejected
from training.instruct import room as rooms
from training.instruct.data_settings import ToolsSettings
from training.instruct.room import TOOLS, Chapter, Reference, Room, ToolError, run
from training.instruct.situations import Call, CallResult, Situation, chapters_of, characters
from training.instruct.tool_checks import check_honest, check_numbers, check_row, check_user
from training.instruct.tools import all_situations, tools
from training.serving import http

ROOM_PRINCIPLES = [
    Principle.model_validate(one | {"domains": ["fiction"], "tasks": ["write", "polish"]}) for one in PRINCIPLES
]
ROOM = Room(
    title="The Lamp",
    chapters=(
        Chapter(
            title="Dusk",
            text="“Is it lit?” asked Anna. The lamp was not.\n\nBoris said nothing. Anna’s hands were cold.",
        ),
        Chapter(title="Night", text="The Lamp burned. Anna slept, and the lamplight moved."),
    ),
    target=100,
    principles=tuple(ROOM_PRINCIPLES),
    references=(Reference(title="Pier", text="The pier was long and wet."), Reference(title="Barn", text="A wet cow.")),
)


def answer(name: str, **arguments: Any) -> dict[str, Any]:
    return run(ROOM, name, arguments).result


# The tools


def test_the_results_of_the_tools() -> None:
    assert answer("count_words") == {"words": 25}
    assert answer("count_words", chapter=2) == {"chapter": 2, "words": 9}
    assert answer("count_words", text="One two, three.") == {"words": 3}
    assert answer("read_chapter", number=2) == {
        "chapter": 2, "title": "Night", "words": 9, "text": ROOM.chapters[1].text,
    }  # fmt: skip
    assert answer("find_in_story", query="the  lamp") == {
        "times": 2,
        "paragraphs": 2,
        "places": [
            {"chapter": 1, "paragraph": 1, "sentence": "The lamp was not."},
            {"chapter": 2, "paragraph": 1, "sentence": "The Lamp burned."},
        ],
    }
    assert answer("find_in_story", query="Anna", chapter=2)["times"] == 1
    assert answer("find_in_story", query="nowhere") == {"times": 0, "paragraphs": 0, "places": []}
    assert [one["begins"] for one in answer("outline_of_story")["chapters"]] == [
        "“Is it lit?” asked Anna.",
        "The Lamp burned.",
    ]
    assert answer("story_status") == {"title": "The Lamp", "chapters": 2, "words": 25, "target": 100, "left": 75}
    assert answer("set_target", words=300) == {"before": 100, "target": 300, "left": 275}
    assert answer("list_principles", task="write")["number"] == 4
    assert [one["title"] for one in answer("search_references", query="wet pier")["found"]] == ["Pier", "Barn"]
    assert answer("search_references", query="harbour") == {"references": 2, "found": []}


def test_a_tool_that_changes_something_returns_a_new_room() -> None:
    outcome = run(ROOM, "rename_character", {"old": "Anna", "new": "Berta"})
    assert outcome.result["times"] == 3
    assert outcome.result["chapters"] == [{"chapter": 1, "times": 2}, {"chapter": 2, "times": 1}]
    assert "Berta’s hands" in outcome.room.chapters[0].text
    assert run(outcome.room, "find_in_story", {"query": "Anna"}).result["times"] == 0
    assert run(run(ROOM, "set_target", {"words": 300}).room, "story_status", {}).result["target"] == 300
    assert ROOM.target == 100
    assert "Anna’s hands" in ROOM.chapters[0].text


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("fly", {}, "no tool fly"),
        ("read_chapter", {"number": 3}, "no chapter 3: the story has 2"),
        ("read_chapter", {"number": "1"}, "number: .*integer"),
        ("read_chapter", {"number": 1.0}, "number: .*integer"),
        ("read_chapter", {"number": 0}, "number: "),
        ("read_chapter", {}, "number: .*required"),
        ("read_chapter", {"number": 1, "x": 1}, "x: "),
        ("read_chapter", "[1]", "arguments: "),
        ("read_chapter", "{", "arguments: "),
        ("count_words", {"chapter": 1, "text": "x"}, "not both"),
        ("count_words", {"chapter": 9}, "no chapter 9"),
        ("find_in_story", {"query": " "}, "no word"),
        ("find_in_story", {"query": "lamp", "chapter": 5}, "no chapter 5"),
        ("set_target", {"words": 20}, "has 25 words already"),
        ("rename_character", {"old": "Clara", "new": "Dora"}, "Nobody in the story is called Clara"),
        ("rename_character", {"old": "Anna", "new": "Boris"}, "Boris already occurs in the story"),
        ("rename_character", {"old": "Anna", "new": "…"}, "not a name"),
        ("list_principles", {"task": "title"}, "no principles for the task title"),
        ("list_principles", {"task": "fly"}, "task: "),
    ],
)
def test_errors_of_the_tools(name: str, arguments: Any, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        run(ROOM, name, arguments)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)
NEARLY = {
    "number": st.integers(-2, 5) | ANY_JSON,
    "chapter": st.integers(-2, 5) | st.none() | ANY_JSON,
    "text": st.text(max_size=30) | ANY_JSON,
    "query": st.sampled_from(["lamp", "Anna", "(", "\\", "[a", " \n", "a\x00b"]) | st.text(max_size=30) | ANY_JSON,
    "task": st.sampled_from(["write", "title", "fly"]) | ANY_JSON,
    "words": st.integers(-10, 10**30) | ANY_JSON,
    "old": st.sampled_from(["Anna", "a.*", "\\1"]) | st.text(max_size=10) | ANY_JSON,
    "new": st.sampled_from(["Berta", "\\g<0>", "\\1"]) | st.text(max_size=10) | ANY_JSON,
}


@of_hypothesis(deadline=None, max_examples=400)
@given(name=st.sampled_from(sorted(TOOLS)), data=st.data())
def test_any_arguments_give_a_result_or_a_tool_error(name: str, data: st.DataObject) -> None:
    """The result is JSON of a bounded size."""
    fields = st.fixed_dictionaries({}, optional={key: NEARLY[key] for key in TOOLS[name].arguments.model_fields})
    arguments = data.draw(st.one_of(fields, fields.map(json.dumps), st.text(max_size=20), ANY_JSON))
    try:
        outcome = run(ROOM, name, arguments)
    except ToolError:
        return
    assert json.loads(rooms.tool_message(outcome.result)) == outcome.result
    assert len(outcome.room.chapters) == 2
    assert len(json.dumps(outcome.result)) < 20_000


def test_schemas_describe_the_arguments() -> None:
    assert len(TOOLS) == 9
    for tool in TOOLS.values():
        function = tool.schema["function"]
        assert tool.schema["type"] == "function"
        assert function["name"] == tool.name
        assert function["description"].endswith(".")
        assert (function["parameters"]["type"], function["parameters"]["additionalProperties"]) == ("object", False)
        assert set(function["parameters"]["properties"]) == set(tool.arguments.model_fields)
        assert "anyOf" not in json.dumps(function)
        assert all("description" in one for one in function["parameters"]["properties"].values())
    assert TOOLS["find_in_story"].schema["function"]["parameters"]["required"] == ["query"]


# Situations


@pytest.fixture
def fake() -> Iterator[FakeTeacher]:
    made = FakeTeacher(honest_answer)
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)


def asked_of(body: dict[str, Any]) -> tuple[str, str]:
    return body["response_format"]["json_schema"]["name"], body["messages"][0]["content"]


def honest_answer(body: dict[str, Any]) -> str:
    """A correct answer, put together from the question."""
    kind, said = asked_of(body)
    if kind == "UserMessage":
        calls = re.findall(r"\{.*?\}", said.partition("The assistant calls")[2].partition("\n\n")[0])
        values = [f"{key} {value}" for call in calls for key, value in json.loads(call).items()]
        sign = re.findall(r"^THE STORY (\w{12})$", said, re.MULTILINE)[0]
        return json.dumps(
            {
                "user": f"In my story, please see to {', '.join(values) or 'how it stands'}. ({body['seed']} {sign} {len(said)})"
            }
        )
    if kind == "Reply":
        return json.dumps({"done": '{"error"' not in said, "answer": "Here is what I can tell."})
    return json.dumps(
        {
            "user": f"Tell me: {said.partition('The topic:')[2].partition('.')[0]}? {len(said)}",
            "answer": "Gladly.",
        }
    )


@pytest.fixture
def settings(fake: FakeTeacher, tmp_path: Path) -> Callable[..., ToolsSettings]:
    things = ["lantern", "cupboard", "scissors", "umbrella"]  # words that a writer may search for
    stories = [
        {
            "id": f"s{n}",
            "author": f"Author {n % 4}",
            "title": f"Story {n}",
            "text": f"There stood a {things[n % 4]}. {made_up_story(n, 60)}",
        }
        for n in range(12)
    ]
    data = write_lines(tmp_path / "stories.jsonl", stories)
    entries = [one.model_dump(mode="json") for one in ROOM_PRINCIPLES]
    (tmp_path / "constitution.toml").write_text(tomli_w.dumps({"principle": entries}))

    def made(run: str = "run", *, teacher: dict[str, Any] | None = None, **changes: Any) -> ToolsSettings:
        values = {
            "run_dir": tmp_path / run,
            "data": [data],
            "constitution": tmp_path / "constitution.toml",
            "teacher": {"url": fake.url, "model": "fake", "seconds": 20, "tries": 3, "at_once": 8} | (teacher or {}),
            "samples": 40,
            "chapter_words": 100,
            "two_calls_share": 0.3,
            "error_share": 0.2,
            "no_tool_share": 0.1,
            "held_out_share": 0.0,
        }
        return ToolsSettings.model_validate(values | changes)

    return made


def test_situations_are_balanced_and_sensible(settings: Callable[..., ToolsSettings]) -> None:
    found = all_situations(settings(samples=300))
    assert len(found) == 300
    kinds = Counter(one.kind for one in found)
    assert 60 <= kinds["two"] <= 120
    assert 35 <= kinds["error"] <= 85
    assert 15 <= kinds["none"] <= 50
    for kind in ("one", "two"):
        first = Counter(one.calls[0].call.tool for one in found if one.kind == kind)
        assert set(first) == set(TOOLS)
        assert max(first.values()) - min(first.values()) <= 3
    for one in found:
        room = one.room
        for done in one.calls:
            assert done.call.tool in one.offered
            assert ("error" in done.result) == (one.kind == "error")
        assert len(one.offered) <= 6
        assert room.target is None or room.target >= room.words
        assert room.chapters[0].text in one.good.text
        if one.calls and one.calls[0].call.tool == "find_in_story" and one.kind != "error":
            assert one.calls[0].result["times"] > 0
        assert bool(one.topic) == (one.kind == "none") == (not one.calls)
    assert [one.calls for one in all_situations(settings(samples=300))] == [one.calls for one in found]
    assert [one.calls for one in all_situations(settings(samples=300, seed=2))] != [one.calls for one in found]


def test_chapters_and_characters() -> None:
    text = "## The Pier\n\nAnna came.\n\n## The Barn\n\n" + "\n\n".join(["word " * 40] * 3)
    made = chapters_of(text, 60)
    assert [(one.title, count_words(one.text)) for one in made] == [
        ("The Pier", 2),
        ("The Barn", 80),
        ("Chapter 3", 40),
    ]
    assert characters(ROOM) == ["Anna", "Boris"]


def test_held_out_rooms_share_nothing_with_the_others(settings: Callable[..., ToolsSettings]) -> None:
    sides: dict[str, set[str]] = {"train": set(), "held_out": set()}
    for one in all_situations(settings(held_out_share=0.4)):
        side = one.id.partition("/")[0]
        sides[side] |= {one.room.title, *(reference.title for reference in one.room.references)}
    assert sides["train"]
    assert sides["held_out"]
    assert not sides["train"] & sides["held_out"]


# The chain


def rows_of(folder: Path, name: str = "train") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())}


def test_situations_become_rows(settings: Callable[..., ToolsSettings]) -> None:
    made = settings()
    folder = tools(made)
    rows, rejected = rows_of(folder), rows_of(folder, "rejected")
    found = {one.id: one for one in all_situations(made)}
    assert set(rows) | set(rejected) == set(found)
    assert {one["reason"] for one in rejected.values()} <= {"copy"}
    assert len(rows) > 30
    for key, row in rows.items():
        one = found[key]
        check_row(row, one.room)
        assert [tool["function"]["name"] for tool in row["tools"]] == list(one.offered)
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", *["assistant", "tool"] * len(one.calls), "assistant"]
        calls = [call["function"] for message in row["messages"] for call in message.get("tool_calls", ())]
        assert calls == [{"name": done.call.tool, "arguments": done.call.arguments} for done in one.calls]
        assert all(
            message["tool_call_id"] == before["tool_calls"][0]["id"]
            for before, message in zip(row["messages"][1::2], row["messages"][2::2])
        )
    lines = [line for _, line in read_jsonl([folder / "train.jsonl"], Conversation)]
    assert sum(bool(message.tool_calls) for line in lines for message in line.messages) == sum(
        len(row["calls"]) for row in rows.values()
    )
    report = json.loads((folder / "report.json").read_text())
    assert report["rows"] == {"train": len(rows), "held_out": 0}
    assert sum(one["made"] for one in report["tools"]) + report["kinds"]["none"] == len(rows)
    assert f"| {report['kinds']['two']} | two |" in (folder / "README.md").read_text()


def saying(schema: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], str]:
    """A teacher whose answers of one kind are changed."""

    def answers(body: dict[str, Any]) -> str:
        said = json.loads(honest_answer(body))
        return json.dumps(change(said) if asked_of(body)[0] == schema else said)

    return answers


@pytest.mark.parametrize(
    ("schema", "change", "reason", "shares"),
    [
        (
            "UserMessage",
            lambda said: said | {"user": "Call read_chapter for me."},
            "names_a_tool",
            {"two_calls_share": 0, "error_share": 0, "no_tool_share": 0},
        ),
        (
            "UserMessage",
            lambda said: said | {"user": f"Do what is needed, {said['user'][-12:]}"},
            "not_said",
            {"two_calls_share": 0, "error_share": 1, "no_tool_share": 0},
        ),
        ("Reply", lambda said: said | {"done": not said["done"]}, "not_honest", {}),
        ("Reply", lambda said: said | {"answer": "It has 987,654 words."}, "invented", {}),
        ("Reply", lambda said: said | {"answer": "As find_in_story says."}, "names_a_tool", {}),
        ("UserMessage", lambda said: {"said": "x"}, "no_answer", {}),
        (
            "Exchange",
            lambda said: said | {"answer": "Use story_status."},
            "names_a_tool",
            {"two_calls_share": 0, "error_share": 0, "no_tool_share": 1},
        ),
        (
            "Exchange",
            lambda said: said | {"user": "The same."},
            "copy",
            {"two_calls_share": 0, "error_share": 0, "no_tool_share": 1},
        ),
    ],
)
def test_bad_answers_are_rejected(
    schema: str,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    reason: str,
    shares: dict[str, float],
    fake: FakeTeacher,
    settings: Callable[..., ToolsSettings],
) -> None:
    fake.answer = saying(schema, change)
    folder = tools(settings(samples=20, **shares))
    rejected = Counter(one["reason"] for one in rows_of(folder, "rejected").values())
    assert rejected[reason] >= 5
    left = [row["calls"] for row in rows_of(folder).values() if row["calls"]]
    assert all(calls == ["list_principles"] for calls in left)  # whose task need not be said in its own words
    assert not left or reason == "not_said"


@pytest.mark.parametrize("schema", ["UserMessage", "Reply", "Exchange"])
@pytest.mark.parametrize("fault", ["hang", "500", "half", "drop", "no_json", "cut", "refuse"])
def test_a_teacher_that_fails_costs_its_own_row(
    fault: str, schema: str, fake: FakeTeacher, settings: Callable[..., ToolsSettings]
) -> None:
    few = {"samples": 12, "no_tool_share": 0.3}
    whole = rows_of(tools(settings("whole", **few)))
    chosen = next(asked_of(body)[1] for body in fake.asked if asked_of(body)[0] == schema)
    fake.fault = lambda body, times: fault if asked_of(body)[1] == chosen else ""
    folder = tools(
        settings("faulty", **few, teacher={"seconds": 2 if fault == "hang" else 20, "tries": 2, "at_once": 2})
    )
    rows = rows_of(folder)
    assert len(rows) == len(whole) - 1
    assert all(whole[key] == row for key, row in rows.items())
    [lost] = set(whole) - set(rows)
    assert rows_of(folder, "rejected")[lost]["reason"] == "no_answer"


def test_an_interrupted_stage_resumes_and_replays(fake: FakeTeacher, settings: Callable[..., ToolsSettings]) -> None:
    whole = tools(settings("whole"))
    wanted = len(fake.asked)
    fake.fault = lambda body, times: "key" if len(fake.asked) - wanted > 20 else ""
    with pytest.raises(MendableError, match="refuses the key"):
        tools(settings("again", teacher={"at_once": 1}))
    before = len(fake.asked)
    fake.fault = lambda body, times: ""
    again = tools(settings("again", teacher={"at_once": 1}))
    assert len(fake.asked) - before < wanted - 15
    fake.stop()
    replayed = tools(settings("again", teacher={"replay": True}))
    for path in whole.iterdir():
        assert (again / path.name).read_bytes() == (replayed / path.name).read_bytes() == path.read_bytes()


# The checks


@pytest.fixture
def two(settings: Callable[..., ToolsSettings]) -> tuple[dict[str, Any], Situation]:
    """A row with a renaming and the call that follows from it."""
    made = settings(two_calls_share=1, error_share=0, no_tool_share=0, samples=10)
    one = next(one for one in all_situations(made) if one.calls[0].call.tool == "rename_character")
    return rows_of(tools(made))[one.id], one


def called(row: dict[str, Any], place: int) -> dict[str, Any]:
    function: dict[str, Any] = row["messages"][place]["tool_calls"][0]["function"]
    return function


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda row: None, ""),
        (lambda row: called(row, 1).update(arguments=json.dumps(called(row, 1)["arguments"])), ""),
        (lambda row: called(row, 1)["arguments"].update(new="Zenobia"), "result"),
        (lambda row: called(row, 1)["arguments"].update(more=1), "call"),
        (lambda row: called(row, 1).update(arguments="{"), "call"),
        (lambda row: called(row, 1).update(name="fly"), "call"),
        (lambda row: row.update(tools=row["tools"][:0]), "call"),
        (lambda row: row["tools"][0]["function"].update(description="Otherwise."), "call"),
        (lambda row: row["messages"][2].update(content='{"times": 1}'), "result"),
        (lambda row: row["messages"][2].update(tool_call_id="other"), "result"),
        (lambda row: row["messages"].pop(2), "result"),
        (lambda row: row["messages"].pop(), "call"),
        (lambda row: row.update(messages=row["messages"][3:]), "result"),
    ],
)
def test_a_row_is_checked_by_running_its_calls(
    spoil: Callable[[dict[str, Any]], Any], reason: str, two: tuple[dict[str, Any], Situation]
) -> None:
    """The second call runs in the room after the first one: before it, the new name does not occur."""
    row, situation = deepcopy(two[0]), two[1]
    row["tools"] = [TOOLS[one.call.tool].schema for one in situation.calls]
    spoil(row)
    if not reason:
        check_row(row, situation.room)
        return
    with pytest.raises(Rejected) as rejected:
        check_row(row, situation.room)
    assert rejected.value.reason == reason


CALLS = (
    CallResult(
        Call("story_status", {}), {"words": 2287, "chapters": [{"title": "Part 7"}, {"title": "x"}, {"title": "y"}]}
    ),
)


@pytest.mark.parametrize(
    ("said", "invented"),
    [
        ("It has 2,287 words.", ""),
        ("It has 2287 words in three chapters; you asked for 40.", ""),
        ("1. Part 7\n2. the rest", ""),
        ("One of them, at first, is seven.", ""),
        ("It has 2,300 words.", "2300"),
        ("It has 22 words.", "22"),
        ("There are four of them.", "4"),
        ("That is 2.5 times as much.", "2.5"),
    ],
)
def test_invented_numbers(said: str, invented: str) -> None:
    if not invented:
        check_numbers(said, "Make it 40, please.", CALLS)
        return
    with pytest.raises(Rejected, match=f"no tool says {re.escape(invented)}$"):
        check_numbers(said, "Make it 40, please.", CALLS)


@pytest.mark.parametrize(
    ("user", "missing"),
    [
        ("Read me the third chapter, then chapter two.", ""),
        ("Chapter 3, and 2 as well!", ""),
        ("Read me the third chapter.", "2"),
        ("Read me chapter 33, then 2.", "3"),
    ],
)
def test_the_user_must_say_the_arguments(user: str, missing: str) -> None:
    done = [
        CallResult(Call("read_chapter", {"number": 3}), {"text": "x"}),
        CallResult(Call("read_chapter", {"number": 2}), {}),
    ]
    if not missing:
        check_user(user, done)
        return
    with pytest.raises(Rejected, match=f"does not say {missing} "):
        check_user(user, done)
    check_user(
        user + " 3.", [done[0], CallResult(Call("find_in_story", {"query": "X"}), {})]
    )  # the first answer tells it


def test_answers_must_be_honest() -> None:
    refused = (CallResult(Call("read_chapter", {"number": 9}), {"error": "There is no chapter 9."}),)
    check_honest(refused, says_done=False)
    check_honest(CALLS, says_done=True)
    for done, says in ((refused, True), (CALLS, False)):
        with pytest.raises(Rejected):
            check_honest(done, says_done=says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"chapter_words": 5000}, "No text is long enough"), ({"constitution": "missing.toml"}, "cannot be read")],
)
def test_errors_name_the_cause(changes: dict[str, Any], says: str, settings: Callable[..., ToolsSettings]) -> None:
    with pytest.raises(MendableError, match=says):
        tools(settings(**changes))


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not here")
def test_situations_of_the_corpus(settings: Callable[..., ToolsSettings], tmp_path: Path) -> None:
    """With real stories there is a situation for every tool, and renamed characters have names."""
    stories = [one.model_dump() for one in read_stories(CORPUS)[:40]]
    data = write_lines(tmp_path / "corpus.jsonl", stories)
    constitution = ROOT / "writer" / "editorial" / "constitution.toml"
    found = all_situations(settings(data=[data], constitution=constitution, samples=120, chapter_words=300))
    assert {one.call.tool for situation in found for one in situation.calls} == set(TOOLS)
    people = [
        one.call.arguments["old"]
        for situation in found
        for one in situation.calls
        if one.call.tool == "rename_character" and situation.kind != "error"
    ]
    assert people
    assert all(name[0].isupper() for name in people)
