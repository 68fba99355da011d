"""The log joined to the text that it continues, and its chunks as messages. log.test.ts tests the browser with the same log.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.stories.log import BLANKS, ChunkMessage, ends_paragraph, join, merged, parse_call, plain_line_ends

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "log.json").read_text("utf-8"))
WORDS = st.text(st.sampled_from("abc é🌊孔.,*"), min_size=1, max_size=8).map(str.strip).filter(bool)
PARAGRAPHS = st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=8)
TEXTS = st.text(
    st.sampled_from([*EXAMPLES["blanks"], *EXAMPLES["other_white_space"], "a", "é", "🌊", "孔", "."]), max_size=12
)


@pytest.mark.parametrize("example", EXAMPLES["join"], ids=lambda example: example["what"])
def test_join(example: dict[str, str]) -> None:
    assert join(example["head"], example["tail"]) == example["text"]


def test_only_blanks_are_taken_away() -> None:
    assert set(BLANKS) == set(EXAMPLES["blanks"])
    for other in EXAMPLES["other_white_space"]:
        for head in (other, "One." + other, "One.\n" + other):
            assert join(head, "\n\nTwo.") == head + "\n\nTwo."
        assert join("", other + "\nTwo.") == other + "\nTwo."


@given(TEXTS, TEXTS)
def test_nothing_is_lost_but_blanks_at_the_seam(head: str, tail: str) -> None:
    text = join(head, tail)
    ends, begins = head.rstrip(BLANKS), tail.lstrip(BLANKS)
    if not tail:
        assert text == head
    elif ends:
        assert text.endswith(tail)
        kept = text.removesuffix(tail)
        assert kept == (ends if "\n" in head[len(ends) :] else head)
    else:
        assert text.endswith(begins)
        blanks = text.removesuffix(begins)
        assert "\n" not in blanks
        assert tail[: len(tail) - len(begins)].endswith(blanks)
        assert tail == text or tail.removesuffix(text).endswith("\n")


@given(TEXTS, TEXTS, TEXTS)
def test_what_is_joined_can_be_joined_on(head: str, one: str, two: str) -> None:
    """A save that takes a whole part of the log, up to the end of a paragraph, leaves the text as it was."""
    one = one.rstrip(BLANKS)
    if head.strip(BLANKS) and one:
        assert join(join(head, one), two) == join(head, one + two)


@given(PARAGRAPHS, st.data())
def test_saves_that_change_nothing_change_nothing(blocks: list[str], data: st.DataObject) -> None:
    """A writer who saves again and again, taking more of the log each time, has the log and nothing else."""
    log = "\n\n".join(blocks)
    ends = [at for at in range(len(log) + 1) if ends_paragraph(log, at)] + [len(log)]
    head, absorbed = "", 0
    for at in sorted(data.draw(st.lists(st.sampled_from(ends), max_size=6))):
        head, absorbed = join(head, log[absorbed:at]), at
        assert join(head, log[absorbed:]) == log


def test_a_long_run_of_blanks_is_joined_in_time() -> None:
    assert join("a" + " " * 1_000_000 + "b", "\n\nc").endswith("b\n\nc")
    assert join("", " " * 1_000_000 + "c").endswith("c")


@pytest.mark.parametrize("example", EXAMPLES["line_ends"], ids=lambda example: repr(example["text"]))
def test_line_ends(example: dict[str, str]) -> None:
    assert plain_line_ends(example["text"]) == example["plain"]


def test_a_chunk_as_it_travels() -> None:
    fields = {name: value for name, value in EXAMPLES["chunk"]["message"].items() if name != "type"}
    message = ChunkMessage(**fields)
    assert message.json() == EXAMPLES["chunk"]["json"]
    assert parse_call(message.call()) == (message.seq, message.json())
    assert parse_call(b"state") is None
    assert msgspec.json.decode(message.json(), type=ChunkMessage) == message


@given(st.lists(st.tuples(st.sampled_from(["story", "thinking"]), WORDS), max_size=12))
def test_merged_chunks_are_the_chunks(chunks: list[tuple[str, str]]) -> None:
    lengths = {"story": 0, "thinking": 0}
    rows = []
    for seq, (channel, text) in enumerate(chunks, start=1):
        rows.append((seq, channel, lengths[channel], text))
        lengths[channel] += len(text)
    seen, texts = 0, {"story": "", "thinking": ""}
    for run in merged(rows, 1):
        assert run.first == seen + 1
        assert run.start == len(texts[run.channel])
        texts[run.channel] += run.text
        seen = run.seq
    assert seen == len(rows)
    assert texts == {name: "".join(text for channel, text in chunks if channel == name) for name in texts}
