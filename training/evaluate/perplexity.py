"""Perplexity per word on held-out stories: exp(nats of all tokens / words), the closing token of each story included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import Qwen3ForCausalLM

from training.corpus.windows import MeasuredStory
from training.text import round_words, story_request
from training.tokenizer import Encoder

OVERLAP = 256  # tokens of the latest text that each window but the first repeats as context, unscored


def model_nats(model: Qwen3ForCausalLM, encoder: Encoder, measured: MeasuredStory, length: int) -> float:
    """Nats of a whole story and its end, read in windows of `length` tokens, each after the request the narrator would make.

    The request holds the title and how many words are written and left, but an empty premise: a sentence of the story would
    give away what is to be predicted. From 250 words left it asks for the end.
    """
    ids, ends = encoder.text_with_ends(measured.story.text)
    ids.append(encoder.end)
    total, target = len(measured.words), round_words(len(measured.words))
    nats, done = 0.0, 0
    while done < len(ids):
        left = total - measured.words_before(ends[done - 1] if done else 0)
        request = encoder.request(
            story_request(
                title=measured.story.title,
                premise="",
                target=target,
                written=max(1, target - left) if done else 0,
                landing=bool(done) and left <= 250,
            )
        )
        room = length - len(request)
        first = max(0, done - min(OVERLAP, room // 2))
        upto = min(len(ids), first + room)
        window = torch.tensor([request + ids[first:upto]])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            logits_TV = model(input_ids=window, use_cache=False).logits[0].float()
        scored = len(request) + done - first
        nats += F.cross_entropy(logits_TV[scored - 1 : -1], window[0, scored:], reduction="sum").item()
        done = upto
    return nats


def all_nats(model: Qwen3ForCausalLM, encoder: Encoder, stories: Sequence[MeasuredStory], length: int) -> float:
    return sum(model_nats(model, encoder, story, length) for story in stories)
