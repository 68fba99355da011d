"""Starting, limits, saving: what the operations guarantee, also when they are called concurrently."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from pytest_django import Settings

from tests.cast import write
from training.common.sampling import Sampling
from writer.accounts.models import User
from writer.refusals import Missing, NotNow, Refused, TooMuch, Unavailable
from writer.stories.models import Chunk, Deployment, Generation, ModelVersion, Revision, State, Story, Wish
from writer.stories.operations import control
from writer.stories.operations.create_story import create_story
from writer.stories.operations.delete_story import delete_story
from writer.stories.operations.deploy import in_service
from writer.stories.operations.models import ensure_model_version
from writer.stories.operations.save_text import Conflict, save_text
from writer.stories.operations.start_generation import start_generation
from writer.stories.reading import place_in_queue, story_for, story_lines, whole


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run them in threads of their own; an exception is a result."""

    def one(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


@pytest.mark.django_db
class TestStart:
    def test_it_begins_from_the_whole_text(self, owner: User, generation: Generation) -> None:
        write(generation, "One.", "\n\nTwo.", state=State.DONE)
        second = start_generation(user=owner, story_id=generation.story_id, target_words=700, sampling=Sampling(seed=7))
        story = story_for(owner, generation.story_id)
        assert story.head is not None
        assert story.head.text == second.base.text == "One.\n\nTwo."
        assert (story.head.generation_id, story.head.absorbed, second.base_id) == (second.pk, 0, story.head.pk)
        assert (second.words, second.base_words, story.target_words) == (2, 2, 700)
        assert second.sampling == {"temperature": 0.8, "min_p": 0.05, "top_p": 1.0, "seed": 7}
        assert story.head.origins == [{"generation": str(generation.pk)}] * 2

    def test_one_at_a_time(self, owner: User, generation: Generation) -> None:
        for state in (State.QUEUED, State.RUNNING, State.PAUSED):
            write(generation, state=state)
            with pytest.raises(NotNow):
                start_generation(user=owner, story_id=generation.story_id)

    def test_asked_again_with_the_same_key_it_is_the_same(self, owner: User, story: Story) -> None:
        first = start_generation(user=owner, story_id=story.pk, idempotency_key="k")
        write(first, "Done.", state=State.DONE)
        assert start_generation(user=owner, story_id=story.pk, idempotency_key="k").pk == first.pk
        assert start_generation(user=owner, story_id=story.pk, idempotency_key="other").pk != first.pk

    def test_it_asks_for_more_than_there_is(self, owner: User, model: ModelVersion) -> None:
        story = create_story(owner=owner, title="t", premise="p", target_words=300, text="word " * 300)
        with pytest.raises(Refused, match="300 words already"):
            start_generation(user=owner, story_id=story.pk)

    def test_without_a_model_it_says_so(self, owner: User) -> None:
        story = create_story(owner=owner, title="t", premise="p", target_words=300)
        with pytest.raises(Unavailable):
            start_generation(user=owner, story_id=story.pk)

    def test_so_many_at_once(self, owner: User, stranger: User, model: ModelVersion, settings: Settings) -> None:
        settings.STORIES_AT_ONCE = 2
        given = {"title": "t", "premise": "p", "target_words": 300, "start": True}
        first = create_story(owner=owner, **given)  # type: ignore[arg-type]
        create_story(owner=owner, **given)  # type: ignore[arg-type]
        with pytest.raises(TooMuch, match="2 stories"):
            create_story(owner=owner, **given)  # type: ignore[arg-type]
        assert Story.objects.for_user(owner).count() == 2, "what cannot start leaves nothing behind"
        create_story(owner=stranger, **given)  # type: ignore[arg-type]
        paused = control.pause(user=owner, generation=first.generations.get())
        create_story(owner=owner, **given)  # type: ignore[arg-type]
        with pytest.raises(TooMuch):
            control.continue_(user=owner, generation=paused)

    def test_so_many_words_a_day(self, owner: User, model: ModelVersion, settings: Settings) -> None:
        settings.WORDS_PER_DAY = 1000
        story = create_story(owner=owner, title="t", premise="p", target_words=600, start=True)
        with pytest.raises(TooMuch, match="You have 400 left"):
            create_story(owner=owner, title="t", premise="p", target_words=401, start=True)
        generation = story.generations.get()
        write(generation, "word " * 100)
        write(generation, state=State.STOPPED)
        create_story(owner=owner, title="t", premise="p", target_words=900, start=True)

    def test_the_place_in_the_queue(self, owner: User, stranger: User, model: ModelVersion) -> None:
        rows = [
            create_story(owner=who, title="t", premise="p", target_words=300, start=True).generations.get()
            for who in (owner, stranger, owner)
        ]
        assert [place_in_queue(row) for row in rows] == [1, 2, 3]
        control.stop(user=owner, generation=rows[0])
        assert [place_in_queue(Generation.objects.get(pk=row.pk)) for row in rows] == [0, 1, 2]


@pytest.mark.django_db
class TestControl:
    def test_a_stop_is_not_weakened_to_a_pause(self, owner: User, generation: Generation) -> None:
        write(generation, "A")
        control.stop(user=owner, generation=generation)
        with pytest.raises(NotNow):
            control.pause(user=owner, generation=generation)
        assert Generation.objects.get(pk=generation.pk).wish == Wish.STOP

    def test_what_the_story_left_behind_cannot_go_on(self, owner: User, generation: Generation) -> None:
        write(generation, "A.", state=State.STOPPED)
        second = start_generation(user=owner, story_id=generation.story_id)
        write(second, " B.", state=State.DONE)
        with pytest.raises(NotNow, match="another way"):
            control.continue_(user=owner, generation=generation)

    def test_of_others_there_is_nothing(self, stranger: User, generation: Generation) -> None:
        for verb in (control.pause, control.continue_, control.stop):
            with pytest.raises(Missing):
                verb(user=stranger, generation=generation)


@pytest.mark.django_db
class TestSave:
    def save(self, owner: User, generation: Generation, **change: Any) -> Any:
        head = story_for(owner, generation.story_id).head
        assert head is not None
        given: dict[str, Any] = {
            "base_revision": head.pk,
            "absorbed": head.absorbed,
            "text": head.text,
            "op_id": uuid4().hex,
        }
        return save_text(user=owner, story_id=generation.story_id, **(given | change))

    def test_absorbed_stands_where_a_paragraph_ends(self, owner: User, generation: Generation) -> None:
        write(generation, "One.", "\n\nTwo.", "\n\nThr")
        for absorbed in (-1, 2, 5, 6, 15, 16):
            with pytest.raises(Refused) as refused:
                self.save(owner, generation, absorbed=absorbed, text="x")
            assert refused.value.field == "absorbed"
        assert self.save(owner, generation, absorbed=4, text="1.").absorbed == 4
        assert self.save(owner, generation, absorbed=10, text="1.\n\n2.").absorbed == 10
        with pytest.raises(Refused):
            self.save(owner, generation, absorbed=4, text="back")
        assert whole(story_for(owner, generation.story_id)).text == "1.\n\n2.\n\nThr"

    def test_the_end_of_the_log_is_taken_only_when_nobody_writes(self, owner: User, generation: Generation) -> None:
        write(generation, "One.")
        with pytest.raises(Refused, match="still being written"):
            self.save(owner, generation, absorbed=4, text="1.")
        write(generation, state=State.PAUSED)
        assert self.save(owner, generation, absorbed=4, text="1.").words == 1

    def test_a_save_counts_the_words_of_a_story_at_rest(self, owner: User, generation: Generation) -> None:
        write(generation, "One two three.", state=State.DONE)
        self.save(owner, generation, absorbed=14, text="Only two.")
        assert story_lines(owner)[0].words == 2

    def test_a_save_with_the_name_of_another_is_no_save(self, owner: User, generation: Generation) -> None:
        self.save(owner, generation, text="A.", op_id="same")
        with pytest.raises(Refused) as refused:
            self.save(owner, generation, text="B.", op_id="same")
        assert refused.value.field == "op_id"
        assert whole(story_for(owner, generation.story_id)).text == "A."

    def test_the_older_revision_is_kept(self, owner: User, generation: Generation) -> None:
        self.save(owner, generation, text="A.")
        self.save(owner, generation, text="B.")
        assert list(Revision.objects.filter(text="A.").values_list("children__text", flat=True)) == ["B."]


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_two_windows_save_and_one_hears_of_it(self, owner: User, generation: Generation) -> None:
        head = story_for(owner, generation.story_id).head
        assert head is not None
        base = head.pk

        def save(text: str) -> Callable[[], Any]:
            return lambda: save_text(
                user=owner, story_id=generation.story_id, base_revision=base, absorbed=0, text=text, op_id=text
            )

        results = at_once(*(save(f"Text {number}.") for number in range(6)))
        conflicts = [result for result in results if isinstance(result, Conflict)]
        assert len(conflicts) == 5
        kept = whole(story_for(owner, generation.story_id)).text
        assert {conflict.theirs.text for conflict in conflicts} == {kept}

    def test_the_same_save_sent_twice_at_once_is_stored_once(self, owner: User, generation: Generation) -> None:
        head = story_for(owner, generation.story_id).head
        assert head is not None
        base = head.pk
        results = at_once(
            *[
                lambda: save_text(
                    user=owner, story_id=generation.story_id, base_revision=base, absorbed=0, text="A.", op_id="a"
                )
            ]
            * 4
        )
        assert len(set(results)) == 1
        assert Revision.objects.filter(op_id="a").count() == 1

    def test_limits_hold_when_asked_at_once(self, owner: User, model: ModelVersion, settings: Settings) -> None:
        settings.STORIES_AT_ONCE = 2
        stories = [create_story(owner=owner, title="t", premise="p", target_words=300) for _ in range(5)]
        results = at_once(*(lambda story=story: start_generation(user=owner, story_id=story.pk) for story in stories))
        assert sorted(type(result).__name__ for result in results) == ["Generation"] * 2 + ["TooMuch"] * 3

    def test_one_key_asked_at_once_makes_one(self, owner: User, story: Story) -> None:
        results = at_once(*[lambda: start_generation(user=owner, story_id=story.pk, idempotency_key="k")] * 4)
        assert len({result.pk for result in results}) == 1

    def test_a_story_is_deleted_with_all_it_has(self, owner: User, generation: Generation) -> None:
        write(generation, "One.", state=State.DONE)
        write(start_generation(user=owner, story_id=generation.story_id), "\n\nTwo.")
        delete_story(user=owner, story_id=generation.story_id)
        assert not any(model.objects.exists() for model in (Story, Generation, Chunk, Revision))


@pytest.mark.django_db
def test_one_model_is_in_service(settings: Settings) -> None:
    demo = ensure_model_version()
    assert (demo.name, demo.is_demo, in_service()) == ("demo model", True, demo)
    settings.MODEL, settings.MODEL_PATH, settings.MODEL_IS_DEMO = "Qwen/Qwen3.5-9B", "Qwen/Qwen3.5-9B", False
    real = ensure_model_version()
    assert (real.name, real.served_name, real.is_demo) == ("Qwen3.5-9B", "Qwen/Qwen3.5-9B", False)
    assert ensure_model_version().pk == real.pk
    assert in_service() == real
    assert list(Deployment.objects.order_by("pk").values_list("version", "state")) == [
        (demo.pk, "ended"),
        (real.pk, "serving"),
    ]
    made = ModelVersion.objects.create(name="made from it", served_name="made", tokenizer="x", parent=real)
    Deployment.objects.filter(state="serving").update(version=made)
    ensure_model_version()
    assert in_service() == made, "a version that was made from it stays in service over a restart"
