"""Who wrote which paragraph, what can be stored, and saves while the log grows: no character is lost or doubled."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cast import write
from tests.writer.stories.test_log import PARAGRAPHS, WORDS
from writer.accounts.models import User
from writer.refusals import Refused
from writer.stories.log import join
from writer.stories.models import Generation, State
from writer.stories.operations.save_text import save_text
from writer.stories.operations.start_generation import start_generation
from writer.stories.reading import story_for, whole
from writer.stories.text import Origins, attribute, checked_text, paragraphs


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
