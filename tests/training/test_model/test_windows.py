"""The samples: what the narrator will send, and the author's own words after it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.training.conftest import CORPUS, made_up_story
from training.common.errors import MendableError
from training.common.records import Sample, Story, Window
from training.common.text import count_words, length_note, round_words, story_request
from training.corpus.stories import read_stories, split_by_author
from training.test_model.tokenizer import END, Encoder, save_tokenizer, train_tokenizer
from training.test_model.windows import LANDING_WORDS, MeasuredStory, measure, plan_epoch, render

LENGTH = 512


def story(text: str, title: str = "A Title") -> MeasuredStory:
    return measure(Story(id="s", author="A", anthology="B", title=title, pd_scope="US", text=text))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(train_tokenizer([made_up_story(seed) for seed in range(20)], 500))


@pytest.fixture(scope="module")
def stories() -> list[MeasuredStory]:
    return [story(made_up_story(seed, 120)) for seed in range(8)]


def parts(sample: Sample, encoder: Encoder) -> list[str]:
    """What is given, what is learned, what is given..., in turn, as text."""
    spans = groupby(zip(sample.tokens, sample.weights, strict=True), key=lambda pair: pair[1] > 0)
    return [encoder.tokenizer.decode([token for token, _ in span], skip_special_tokens=False) for _, span in spans]


def test_an_epoch_is_a_function_of_seed_and_number(stories: list[MeasuredStory]) -> None:
    one = plan_epoch(stories, 0, seed=1, length=LENGTH)
    assert one == plan_epoch(stories, 0, seed=1, length=LENGTH)
    assert one != plan_epoch(stories, 1, seed=1, length=LENGTH)
    assert one != plan_epoch(stories, 0, seed=2, length=LENGTH)


def test_an_epoch_begins_and_lands_every_story(stories: list[MeasuredStory]) -> None:
    windows = plan_epoch(stories, 0, seed=1, length=LENGTH)
    assert {window.story for window in windows if window.start == 0} == set(range(len(stories)))
    assert {window.story for window in windows if window.landing} == set(range(len(stories)))


def test_a_beginning_is_asked_for_and_is_the_story(stories: list[MeasuredStory], encoder: Encoder) -> None:
    given, learned = parts(render(Window(0, 0, 0, landing=False, seed=5), stories, encoder, LENGTH), encoder)
    assert given.startswith("<|im_start|>user\nWrite a short story.\nTitle: A Title\nPremise: ")
    assert "words are written" not in given
    assert given.endswith("<|im_start|>assistant\n")
    assert stories[0].story.text.startswith(learned.rstrip("�"))


def test_a_landing_learns_exactly_the_words_that_were_left(stories: list[MeasuredStory], encoder: Encoder) -> None:
    landings = [window for window in plan_epoch(stories, 0, seed=1, length=LENGTH) if window.landing]
    for window in landings:
        measured = stories[window.story]
        sample = render(window, stories, encoder, LENGTH)
        given, learned = parts(sample, encoder)
        left = len(measured.words) - measured.words_before(window.counted_at)
        assert "bring the story to its end within them" in given
        text = measured.story.text
        assert text[window.counted_at :].strip().startswith(learned.removesuffix(END).strip())
        if sample.tokens[-1] == encoder.end:  # the rest fitted
            assert count_words(learned.removesuffix(END)) == left
            _, earlier, latest = given.split("<|im_start|>assistant\n")
            place = measured.sentence_near(window.counted_at - 1)
            assert earlier.partition(END)[0] == text[window.start : place].rstrip()
            assert latest + learned.removesuffix(END) == text[place:]
    assert any(render(window, stories, encoder, LENGTH).tokens[-1] == encoder.end for window in landings)


def test_a_piece_from_the_middle_is_parted_by_the_words_so_far(stories: list[MeasuredStory], encoder: Encoder) -> None:
    text = stories[0].story.text
    start = stories[0].sentence_near(1000)
    window = Window(0, start, start + 500, landing=False, seed=5)
    given, earlier, note, latest = parts(render(window, stories, encoder, LENGTH), encoder)
    place = stories[0].sentence_near(window.counted_at - 1)
    assert "are written" not in given
    assert given.endswith("<|im_start|>assistant\n")
    assert earlier == text[start:place].rstrip()
    written = round_words(len(stories[0].words)) - len(stories[0].words) + stories[0].words_before(window.counted_at)
    assert note.startswith(f"{END}\n<|im_start|>user\nAbout {round_words(written)} words are written.")
    assert note.endswith(f"Go on from the last word.{END}\n<|im_start|>assistant\n")
    assert text[place:].startswith(latest.rstrip("�"))


def test_the_end_of_a_turn_is_learned_only_where_the_story_ends(stories: list[MeasuredStory], encoder: Encoder) -> None:
    for window in plan_epoch(stories, 0, seed=1, length=LENGTH):
        sample = render(window, stories, encoder, LENGTH)
        assert len(sample.tokens) == len(sample.weights) <= LENGTH
        learned = [token for token, weight in zip(sample.tokens, sample.weights, strict=True) if weight]
        if encoder.end in learned:
            assert learned.index(encoder.end) == len(learned) - 1
            assert stories[window.story].story.text.endswith(encoder.tokenizer.decode(learned[-12:]))


def test_few_words_left_ask_for_the_end_in_the_middle_too(stories: list[MeasuredStory], encoder: Encoder) -> None:
    text = stories[0].story.text
    near = stories[0].sentence_near(len(text) - 300)
    start = stories[0].sentence_near(near - 400)
    given, _ = parts(render(Window(0, start, near, landing=False, seed=5), stories, encoder, LENGTH), encoder)
    assert len(stories[0].words) - stories[0].words_before(near) <= LANDING_WORDS
    assert "bring the story to its end" in given


def test_a_premise_has_a_name_and_is_not_in_the_window(stories: list[MeasuredStory], encoder: Encoder) -> None:
    for seed in range(30):
        given, _ = parts(render(Window(1, 0, 0, landing=False, seed=seed), stories, encoder, LENGTH), encoder)
        brief = given.split("Premise: ")[1].split("\n")[0]
        assert any(name in brief for name in ("Anna", "Boris", "Clara", "Dorian"))
        place = stories[1].story.text.find(brief)
        assert place < 0 or place >= int(LENGTH * 3.8)


def test_control_tokens_in_a_story_stay_text(encoder: Encoder) -> None:
    wicked = story(
        f"She wrote {END} on the wall, and <|im_start|>assistant under it, said Anna. It was not the end.", title=END
    )
    sample = render(Window(0, 0, 0, landing=False, seed=1), [wicked], encoder, LENGTH)
    assert sample.tokens.tolist().count(encoder.end) == 2  # of the request, and of the story
    assert sample.tokens.tolist().count(encoder.start) == 2
    assert (
        encoder.tokenizer.decode(sample.tokens.tolist(), skip_special_tokens=False).count(END) == 2 + 3
    )  # title, premise, text


def test_a_story_without_names_or_sentences_is_rendered(encoder: Encoder) -> None:
    sample = render(Window(0, 0, 0, landing=False, seed=1), [story("word " * 20)], encoder, LENGTH)
    assert sample.tokens[-1] == encoder.end


def test_the_encoder_and_the_chat_template_agree(encoder: Encoder, tmp_path: Path) -> None:
    save_tokenizer(encoder.tokenizer, tmp_path, 2048)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    request = story_request(title="Öde", premise="Anna’s lamp…", target=600)
    request += [{"role": "assistant", "content": "Anna sat."}, length_note(target=600, written=90)]
    assert tokenizer.apply_chat_template(request, add_generation_prompt=True, return_dict=False) == encoder.request(
        request
    )
    begun = [*request, {"role": "assistant", "content": "Then Anna walked"}]
    going_on = tokenizer.apply_chat_template(begun, continue_final_message=True, return_dict=False)
    assert going_on == encoder.request(request) + encoder.text("Then Anna walked")


@pytest.mark.parametrize(
    "text", ["plain", "  two\n\n\nthree \t", "“Don’t!”—‘I’", "6,144 孔乙己 😀 é e\u0301", "<|endoftext|>", ""]
)
def test_every_text_comes_back_from_its_tokens(encoder: Encoder, text: str) -> None:
    assert encoder.tokenizer.decode(encoder.text(text), skip_special_tokens=False) == text


def test_whole_authors_are_held_out(corpus: Path) -> None:
    stories = read_stories(corpus, "US and life+70")
    assert len(stories) == 11  # one has another scope
    split = split_by_author(stories, ["Author 3"])
    assert {story.author for story in split.held_out} == {"Author 3"}
    assert "Author 3" not in {story.author for story in split.train}
    with pytest.raises(MendableError, match="Author 9"):
        split_by_author(stories, ["Author 9"])


def test_a_corpus_that_is_none_is_refused(tmp_path: Path, corpus: Path) -> None:
    broken = tmp_path / "broken.gz"
    broken.write_bytes(corpus.read_bytes()[:200])
    for path, says in ((tmp_path / "none", "is not there"), (broken, "not a gzipped JSONL")):
        with pytest.raises(MendableError, match=says):
            read_stories(path, "US and life+70")
    with pytest.raises(MendableError, match="no story with pd_scope"):
        read_stories(corpus, "Mars")


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus ../shared/corpus is not here")
def test_the_real_corpus_has_the_stories_that_the_demo_model_reads() -> None:
    stories = read_stories(CORPUS, "US and life+70")
    assert len(stories) == 1234
    assert len(measure(stories[0]).premises) > 5
