"""An edit in a finished paragraph while the rest is being written, followed by a kill."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from tests.faults.narrators import NarratorProcess, check_log, log_of, make_story, wait_for, wait_state, wait_words
from tests.upstream.process import Upstream
from tests.upstream.script import PARAGRAPH, story
from training.common.text import count_words
from writer.stories.log import join
from writer.stories.models import Chunk, Generation, Revision, State, Story

Narrate = Callable[..., NarratorProcess]


def save(generation: Generation, text: str, absorbed: int) -> Revision:
    """What saving does to the rows (writer.stories.operations.save_text checks who may, and with what)."""
    with transaction.atomic():
        row = Story.objects.select_for_update().get(pk=generation.story_id)
        revision = Revision.objects.create(
            story=row, parent_id=row.head_id, text=text, generation=generation, absorbed=absorbed
        )
        row.head = revision
        row.save(update_fields=["head"])
    return revision


def test_an_edit_to_the_first_paragraph_and_then_the_kill(narrate: Narrate, upstream: Upstream) -> None:
    upstream.script(rate=150)
    generation = make_story(target=600)
    first = narrate()
    wait_words(generation, 2 * PARAGRAPH + 20)
    absorbed = len(story(PARAGRAPH))
    assert log_of(generation)[absorbed : absorbed + 2] == "\n\n"
    edited = story(PARAGRAPH).replace("W3 ", "a word of the writer ")
    revision = save(generation, edited, absorbed)
    asked = upstream.stats()["asked"]
    wait_for(lambda: upstream.stats()["asked"] > asked, 10, "the model was not asked anew, with the edited text")
    first.kill()
    before = log_of(generation)
    narrate()
    wait_state(generation, State.DONE)
    log = check_log(generation)
    assert log.startswith(before)
    row = Story.objects.get(pk=generation.story_id)
    assert row.head_id == revision.pk
    text = join(edited, log[absorbed:])
    assert text.startswith(edited)
    assert log == story(count_words(log))  # the tail is complete, and nothing in it is new
    assert generation.words == count_words(text)
    assert abs(generation.words - 600) <= 60
    assert Chunk.objects.filter(generation=generation).count() == generation.last_seq
