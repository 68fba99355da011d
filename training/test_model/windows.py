"""Which parts of the stories the model learns, and how they are asked for.

Every sample is a request as the narrator makes it (`training.common.text.story_request`) and a piece of the story as the answer:

- the beginning of a story;
- a piece from the middle, from the start of a sentence, parted somewhere by the words that are written and left there
  (`training.common.text.length_note`);
- a landing: the latest text as the narrator sends it along, "about 60 words are left: bring the story to its end", and then
  exactly the words that the author still needed. Only those are learned, so that the count in the note can be trusted.

The first two kinds go through each story once per epoch; landings come on top, since a story has only one end.
All is a function of the seed and the epoch, so the cursor of the data is one number.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import regex

from training.common.errors import MendableError
from training.common.records import Sample, Story, Window
from training.common.text import SENTENCE_END, WORD, length_note, round_words, story_request
from training.test_model.tokenizer import Encoder

LANDING_WORDS = 250  # from so few words left the note asks for the end
_NAME = regex.compile(r"(?<=[\p{Ll},;] )\p{Lu}\p{Ll}{2,}")
_TOKEN_CHARACTERS = 3.8  # of English prose under a vocabulary of some thousand tokens; decides only how windows overlap


@dataclass(frozen=True, slots=True)
class MeasuredStory:
    """A story with the places of its words and sentences, in characters."""

    story: Story
    words: npt.NDArray[np.int32]
    sentences: npt.NDArray[np.int32]
    premises: list[tuple[int, int]]

    def words_before(self, character: int) -> int:
        return int(np.searchsorted(self.words, character))

    def sentence_near(self, character: int) -> int:
        """The start of the last sentence that starts at or before `character`."""
        return int(self.sentences[max(0, int(np.searchsorted(self.sentences, character, side="right")) - 1)])


def measure(story: Story) -> MeasuredStory:
    text = story.text
    words = np.fromiter((match.start() for match in WORD.finditer(text)), dtype=np.int32)
    sentences = np.array([0, *(match.end() for match in SENTENCE_END.finditer(text))], dtype=np.int32)
    spans = zip(sentences.tolist(), [*sentences.tolist()[1:], len(text)], strict=True)
    premises = [(start, end) for start, end in spans if 60 <= end - start <= 300 and _NAME.search(text, start, end)]
    return MeasuredStory(story, words, sentences, premises)


def plan_epoch(
    stories: Sequence[MeasuredStory], epoch: int, *, seed: int, length: int, landings: int = 1
) -> list[Window]:
    """All windows of one epoch in the order in which they are learned; `length` is that of a sample in tokens."""
    rng = random.Random(f"{seed}/{epoch}")
    stride = int(length * 0.85 * _TOKEN_CHARACTERS)
    windows = []
    for number, measured in enumerate(stories):
        size = len(measured.story.text)
        starts = [0]
        offset = rng.randrange(stride)  # another cut in every epoch
        starts += [measured.sentence_near(place) for place in range(offset + stride // 2, size - 200, stride)]
        for start in starts:
            counted_at = start and min(size - 1, start + 300 + rng.randrange(int(length * 0.6 * _TOKEN_CHARACTERS)))
            windows.append(Window(number, start, counted_at, landing=False, seed=rng.getrandbits(32)))
        windows += [_landing(number, measured, length, rng) for _ in range(landings) if len(measured.words) > 150]
    rng.shuffle(windows)
    return windows


def _landing(number: int, measured: MeasuredStory, length: int, rng: random.Random) -> Window:
    """A landing with 15 to 300 words left, short remainders as likely as long ones, after some text of the story."""
    most = min(300, len(measured.words) // 2, int(length * 0.35))
    left = min(most, int(math.exp(rng.uniform(math.log(15), math.log(300)))))
    counted_at = int(measured.words[-left])
    rest = len(measured.story.text) - counted_at
    room = max(200, int((length - 150) * _TOKEN_CHARACTERS * 0.95) - rest)
    start = measured.sentence_near(max(0, counted_at - int(room * rng.uniform(0.35, 1.0))))
    return Window(number, start, counted_at, landing=True, seed=rng.getrandbits(32))


def premise(measured: MeasuredStory, window: Window, rng: random.Random, characters: int) -> str:
    """A sentence with a name in it, from outside the window, so that it is a hint and not a text to copy."""
    inside = range(window.start, window.start + characters)
    outside = [span for span in measured.premises if span[0] not in inside]
    candidates = outside or measured.premises
    if candidates:
        start, end = rng.choice(candidates)
    else:  # no sentence with a name: the first sentence
        bounds = [*measured.sentences.tolist(), len(measured.story.text)]
        start, end = bounds[0], bounds[1]
    return " ".join(measured.story.text[start:end].split())[:400]


def render(window: Window, stories: Sequence[MeasuredStory], encoder: Encoder, length: int) -> Sample:
    """The tokens of a window, at most `length` of them; the end of the turn is learned only where the story ends."""
    measured, rng = stories[window.story], random.Random(window.seed)
    text = measured.story.text
    total = len(measured.words)
    left = total - measured.words_before(window.counted_at)
    landing = window.landing or (window.start > 0 and left <= LANDING_WORDS)
    target = round_words(total)
    request = story_request(
        title=measured.story.title,
        premise=premise(measured, window, rng, int(length * _TOKEN_CHARACTERS)),
        target=target,
    )
    tokens = encoder.request(request)
    if len(tokens) > length * 3 // 4:
        raise MendableError(
            f"sequence_length ({length}) leaves no room for the story after a request of {len(tokens)} tokens."
        )
    weights = [0.0] * len(tokens)
    note_at = measured.sentence_near(window.counted_at - 1) if window.counted_at else 0
    if note_at > window.start:
        earlier = text[window.start : note_at].rstrip()
        # The target is a round number; what is left is exact, because that is what the end is learned from.
        note = length_note(target=target, written=max(1, target - left), landing=landing)
        weights += [float(not landing)] * len(encoder.text(earlier))
        tokens = encoder.request([*request, {"role": "assistant", "content": earlier}, note])
        weights += [0.0] * (len(tokens) - len(weights))
    else:
        note_at = window.start
    ids, ends = encoder.text_with_ends(text[note_at : note_at + length * 12])
    if note_at + length * 12 >= len(text):
        ids, ends = [*ids, encoder.end], [*ends, len(text)]
    learned_from = window.counted_at - note_at if landing else 0
    weights += [float(end > learned_from) for end in ends]
    return Sample.of((tokens + ids)[:length], weights[:length])
