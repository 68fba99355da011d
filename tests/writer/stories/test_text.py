"""Head and tail put together: no character is lost, none is there twice, whatever is saved while the log grows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cast import write
from writer.accounts.models import User
from writer.refusals import Refused
from writer.stories.models import Generation, State
from writer.stories.operations.save_text import save_text
from writer.stories.operations.start_generation import start_generation
from writer.stories.reading import merged, story_for, whole
from writer.stories.text import Origins, attribute, checked_text, ends_paragraph, join, paragraphs

WORDS = st.text(st.sampled_from("abc é🌊孔.,*"), min_size=1, max_size=8).map(str.strip).filter(bool)
PARAGRAPHS = st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("head", "tail", "text"),
    [
        ("", "", ""),
        ("One.", "", "One."),
        ("One. \n\n", "\n\nTwo.", "One.\n\nTwo."),
        ("One", " two.", "One two."),
        ("", "\n\nTwo.", "Two."),
        (" \n", " \n\nTwo.", "Two."),
        ("One.\u3000\ufeff", "\n\nTwo.", "One.\n\nTwo."),
    ],
)
def test_join(head: str, tail: str, text: str) -> None:
    assert join(head, tail) == text


@given(PARAGRAPHS, st.data())
def test_saves_that_change_nothing_change_nothing(blocks: list[str], data: st.DataObject) -> None:
    """A writer who saves again and again, taking more of the log each time, has the log and nothing else."""
    log = "\n\n".join(blocks)
    ends = [at for at in range(len(log) + 1) if ends_paragraph(log, at)] + [len(log)]
    head, absorbed = "", 0
    for at in sorted(data.draw(st.lists(st.sampled_from(ends), max_size=6))):
        head, absorbed = join(head, log[absorbed:at]), at
        assert join(head, log[absorbed:]) == log


@given(PARAGRAPHS, PARAGRAPHS)
def test_every_paragraph_has_one_origin(old: list[str], new: list[str]) -> None:
    before, after = "\n\n".join(old), "\n\n".join(new)
    was: Origins = [{"generation": str(number)} for number, _ in enumerate(paragraphs(before))]
    origins = attribute(before, was, after, 7)
    assert len(origins) == len(paragraphs(after))
    assert attribute(before, was, before, 7) == was
    for paragraph, origin in zip(paragraphs(after), origins, strict=True):
        if paragraph not in paragraphs(before):
            assert origin["person"] == 7


def test_who_wrote_what() -> None:
    was: Origins = [{"generation": "g"}, {"generation": "g"}, {"person": 1}]
    assert attribute("A\n\nB\n\nC", was, "A\n\nBee\n\nnew\n\nC", 2) == [
        {"generation": "g"},
        {"person": 2, "from": "g"},
        {"person": 2},
        {"person": 1},
    ]
    assert attribute("A\n\nB\n\nC", was, "C", 2) == [{"person": 1}]


def test_a_hundred_thousand_small_paragraphs_are_attributed_in_time() -> None:
    old, new = "\n\n".join("ab" * 50_000), "\n\n".join("ba" * 50_000)
    assert len(attribute(old, [], new, 1)) == 100_000


@given(st.text(max_size=40))
def test_what_is_taken_can_be_stored(value: str) -> None:
    try:
        kept = checked_text(value, "text", most=100)
    except Refused:
        return
    kept.encode()
    assert "\x00" not in kept
    assert "\r" not in kept


@given(st.lists(st.tuples(st.sampled_from(["story", "thinking"]), WORDS), max_size=12))
def test_merged_chunks_are_the_chunks(chunks: list[tuple[str, str]]) -> None:
    lengths = {"story": 0, "thinking": 0}
    rows = []
    for seq, (channel, text) in enumerate(chunks, start=1):
        rows.append((seq, channel, lengths[channel], text))
        lengths[channel] += len(text)
    seen, texts = 0, {"story": "", "thinking": ""}
    for run in merged(rows, 1):
        assert run["first"] == seen + 1
        assert run["start"] == len(texts[run["channel"]])
        texts[run["channel"]] += run["text"]
        seen = run["seq"]
    assert seen == len(rows)
    assert texts == {name: "".join(text for channel, text in chunks if channel == name) for name in texts}


@pytest.mark.django_db
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_saves_while_the_log_grows_lose_and_double_nothing(data: st.DataObject, owner: User, story: Any) -> None:
    """Chunks, saves that edit what they take, pauses and new generations in any order: the text is what a plain list says."""
    generation = start_fresh(owner)
    log, head, absorbed = "", "", 0
    for step in range(data.draw(st.integers(1, 8))):
        act = data.draw(st.sampled_from(["write", "write", "save", "again"]))
        if act == "write":
            blank = "\n\n" if log or head else ""
            block = blank + " ".join(data.draw(st.lists(WORDS, min_size=1, max_size=3)))
            write(generation, block)
            log += block
        elif act == "save":
            ends = [at for at in range(absorbed, len(log) + 1) if at == absorbed or log.startswith("\n\n", at)]
            to = data.draw(st.sampled_from(ends))
            edited = join(head, log[absorbed:to]) + data.draw(st.sampled_from(["", " More.", "\n\nNew 🌊.", "\n\n"]))
            saved = save_text(
                user=owner,
                story_id=generation.story_id,
                base_revision=head_of(owner, generation),
                absorbed=to,
                text=edited,
                op_id=f"{step} {generation.pk}",
            )
            head, absorbed = edited, saved.absorbed
        else:
            write(generation, state=State.DONE)
            generation = start_generation(user=owner, story_id=generation.story_id, target_words=20_000)
            head, log, absorbed = join(head, log[absorbed:]), "", 0
        assert whole(story_for(owner, generation.story_id)).text == join(head, log[absorbed:])
        assert len(whole(story_for(owner, generation.story_id)).origins) == len(paragraphs(join(head, log[absorbed:])))
    write(generation, state=State.DONE)


def start_fresh(owner: User) -> Generation:
    from writer.stories.operations.create_story import create_story

    story = create_story(owner=owner, title="t", premise="p", target_words=20_000)
    # Of another day and at rest, so that no limit is met; an example may have ended in the middle.
    Generation.objects.all().update(created="2020-01-01T00:00Z", state=State.STOPPED, ending="")
    return start_generation(user=owner, story_id=story.pk)


def head_of(owner: User, generation: Generation) -> Any:
    head = story_for(owner, generation.story_id).head
    assert head is not None
    return head.pk


def test_the_browser_joins_as_the_server_does() -> None:
    """Both trim the same blanks: asked of a real JavaScript engine."""
    node = next(iter(Path(".venv/bin").glob("node")), None) or "node"
    blanks = "".join(chr(code) for code in range(0x3100) if code not in range(0xD800, 0xE000)) + "\ufeff"
    code = (
        "const b=JSON.parse(require('fs').readFileSync(0));console.log(JSON.stringify([...b].filter(c=>c.trim()==='')))"
    )
    try:
        done = subprocess.run(
            [str(node), "-e", code], input=json.dumps(blanks), capture_output=True, text=True, timeout=30
        )
    except FileNotFoundError:
        pytest.skip("no node here; the tests of the front end need one")
    from writer.stories.text import BLANKS

    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == set(BLANKS)
