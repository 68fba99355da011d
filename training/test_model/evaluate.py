"""The figures of a story model's card: is its text whole, does it land where it is asked to, and how well does it predict.

Human text is taken from stories of authors that the model never read, in passages as long as the samples.
"""

from __future__ import annotations

import math
import os
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from training.common.errors import MendableError
from training.common.records import Measure, Report, Window
from training.common.text import Message, count_words, length_note, story_request
from training.corpus.stories import read_stories, split_by_author
from training.evaluate import degeneration
from training.test_model.ngram import KneserNey
from training.test_model.perplexity import all_nats
from training.test_model.sampling import sample
from training.test_model.settings import DemoSettings
from training.test_model.tokenizer import Encoder
from training.test_model.windows import MeasuredStory, measure, premise

HUMAN = "human stories"
Counter = Callable[[str, bool], tuple[int, int]]
CutText = tuple[str, bool]  # a text, and whether it was cut off rather than ended


def evaluate(settings: DemoSettings, folder: Path, *, samples: int = 200, words: int = 400) -> Report:
    """Measure the model in `folder` on the held-out stories of the settings it was trained with."""
    start = time.monotonic()
    if not (folder / "config.json").exists():
        raise MendableError(f"{folder} holds no model.")
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    split = split_by_author(read_stories(settings.corpus, settings.pd_scope), settings.held_out_authors)
    if not split.held_out:
        raise MendableError("held_out_authors is empty: there is nothing that the model has not read to measure it on.")
    held_out = [measure(story) for story in split.held_out]
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoder = Encoder(tokenizer)
    rng = random.Random(settings.seed)

    vocabulary = {word for story in split.train for word in degeneration.words_of(story.text)}
    machine_texts = _samples(model, encoder, held_out, samples, words, rng)
    human_texts = _passages(held_out, [count_words(text) for text, _ in machine_texts], rng)
    measures = [
        *_text_measures(machine_texts, human_texts, vocabulary, words),
        *(_landing(model, encoder, held_out, left, rng, max(1, samples // 2)) for left in (60, 150)),
        _perplexity(model, encoder, [story.text for story in split.train], held_out, settings.sequence_length),
    ]
    return Report(
        commit=_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{_processor()}, {os.cpu_count()} cores, no GPU used",
        seconds=round(time.monotonic() - start, 1),
        measures=measures,
    )


def _samples(
    model: Qwen3ForCausalLM,
    encoder: Encoder,
    held_out: list[MeasuredStory],
    samples: int,
    words: int,
    rng: random.Random,
) -> list[CutText]:
    """Beginnings under titles and premises of held-out stories, cut after `words` words unless they ended before."""
    prompts = []
    for number in range(samples):
        story = held_out[number % len(held_out)]
        brief = premise(story, Window(0, 0, 0, landing=False, seed=0), rng, characters=0)
        target = rng.choice((1000, 2000, 3000, 5000))
        prompts.append(encoder.request(story_request(title=story.story.title, premise=brief, target=target)))
    made = sample(model, encoder, prompts, tokens=int(words * 1.9), temperature=0.8)
    return [(degeneration.first_words(text, words), not ended or count_words(text) > words) for text, ended in made]


def _passages(held_out: list[MeasuredStory], lengths: list[int], rng: random.Random) -> list[CutText]:
    """Passages of human stories from the start of a sentence, one for each length, as far apart as the stories allow."""
    longest = max(lengths)
    starts = [
        (story, int(place))
        for story in held_out
        for place in story.sentences[:: max(1, longest // 20)]
        if len(story.words) - story.words_before(int(place)) >= longest
    ]
    if not starts:
        raise MendableError(f"No held-out story has {longest} words: there is no human text to compare with.")
    rng.shuffle(starts)
    chosen = (starts[number % len(starts)] for number in range(len(lengths)))
    return [
        (degeneration.first_words(story.story.text[place:], length) if length else "", True)
        for (story, place), length in zip(chosen, lengths)
    ]


def _text_measures(
    machine: Sequence[CutText], human: Sequence[CutText], vocabulary: set[str], words: int
) -> list[Measure]:
    counters: list[tuple[str, Counter, str]] = [
        (
            "known_word_share",
            lambda text, _: degeneration.known_words(text, vocabulary),
            "words that the training stories hold, in lower case",
        ),
        (
            "sentence_end_share",
            lambda text, cut: degeneration.sentences_that_end(text, cut=cut),
            "sentences that close with a mark before their paragraph is over",
        ),
        (
            "quote_close_share",
            lambda text, cut: degeneration.quotes_that_close(text, cut=cut),
            "“ that is closed in its paragraph; a speech over several paragraphs is left open by convention",
        ),
        (
            "repeated_4gram_share",
            lambda text, _: degeneration.repeated_ngrams(text),
            "word 4-grams that stood in the same text before",
        ),
    ]
    note = f"{len(machine)} samples of at most {words} words, temperature 0.8, plain softmax"
    return [
        Measure(
            measure=name,
            value=_share(machine, counter),
            unit="share",
            better="lower" if name.startswith("repeated") else "higher",
            peer=HUMAN,
            peer_value=_share(human, counter),
            note=f"{what}; {note}",
        )
        for name, counter, what in counters
    ] + [
        Measure(
            measure="sample_words_median",
            value=statistics.median(count_words(text) for text, _ in machine),
            unit="words",
            better="higher",
            note=f"a sample is shorter than {words} words only where the model ended it",
        )
    ]


def _share(texts: Sequence[CutText], counter: Counter) -> float | None:
    """The share over all texts together, or None where there is nothing to count."""
    pairs = [counter(text, cut) for text, cut in texts]
    whole = sum(whole for _, whole in pairs)
    return round(sum(part for part, _ in pairs) / whole, 4) if whole else None


def _landing(
    model: Qwen3ForCausalLM,
    encoder: Encoder,
    held_out: list[MeasuredStory],
    left: int,
    rng: random.Random,
    n: int,
) -> Measure:
    """Ask for the end of held-out stories with `left` words left, as the narrator does, and see whether it comes in time."""
    prompts = []
    for number in range(n):
        story = held_out[number % len(held_out)]
        cut = min(len(story.words) - 1, 400 + rng.randrange(max(1, len(story.words) - 400)))
        end = int(story.words[cut])
        begin = story.sentence_near(int(story.words[max(0, cut - 350)]))
        brief = premise(story, Window(0, begin, end, landing=True, seed=0), rng, end - begin)
        request = story_request(title=story.story.title, premise=brief, target=cut + left)
        note_at = story.sentence_near(end - 1)
        earlier: Message = {"role": "assistant", "content": story.story.text[begin:note_at].rstrip()}
        note = length_note(target=cut + left, written=cut, landing=True)
        prompts.append(
            encoder.request([*request, earlier, note]) + encoder.text(story.story.text[note_at:end].rstrip())
        )
    ended = [
        count_words(text) if end else None
        for text, end in sample(model, encoder, prompts, tokens=left * 4, temperature=0.8)
    ]
    in_time = [words for words in ended if words is not None and words <= 2 * left]
    median = f"; the median of those that ended is {statistics.median(in_time):.0f} words" if in_time else ""
    return Measure(
        measure=f"lands_within_{2 * left}_words_when_{left}_are_left",
        value=round(len(in_time) / n, 4),
        unit="share",
        better="higher",
        note=f"{n} cuts in held-out stories, asked to end in about {left} words, temperature 0.8{median}",
    )


def _perplexity(
    model: Qwen3ForCausalLM, encoder: Encoder, train: list[str], held_out: list[MeasuredStory], length: int
) -> Measure:
    words = sum(len(story.words) for story in held_out)
    nats = all_nats(model, encoder, held_out, length)
    vocabulary = encoder.tokenizer.get_vocab_size()
    ngram = KneserNey(
        [[*encoder.text(text), encoder.end] for text in train], vocabulary=vocabulary, start=encoder.start
    )
    ngram_nats = 0.0
    for story in held_out:
        ngram_nats -= float(np.log(ngram.probabilities([*encoder.text(story.story.text), encoder.end])).sum())
    return Measure(
        measure="held_out_perplexity_per_word",
        value=round(math.exp(nats / words), 1),
        unit="perplexity",
        better="lower",
        peer="interpolated Kneser-Ney 5-gram of the same tokens and training stories",
        peer_value=round(math.exp(ngram_nats / words), 1),
        note=(
            f"exp(nats of all tokens / words) over {len(held_out)} whole stories, {words:,} words, of authors not trained on; "
            "byte-level tokens, so no word is unknown to either model; the model sees the title and the length asked, no premise"
        ),
    )


def _processor() -> str:
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].partition(":")[2].strip() if names else platform.machine()


def _commit() -> str:
    answer = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return answer.stdout.strip() or "unknown"
