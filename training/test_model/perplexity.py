"""Perplexity per word on held-out stories: exp(nats of all tokens / words), the closing token of each story included."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import Qwen3ForCausalLM

from training.common.errors import MendableError
from training.common.text import Message, last_sentence, length_note, round_words, story_request
from training.test_model.tokenizer import Encoder
from training.test_model.windows import LANDING_WORDS, MeasuredStory


def model_nats(model: Qwen3ForCausalLM, encoder: Encoder, measured: MeasuredStory, length: int) -> float:
    """Nats of a whole story and its end, read in windows of `length` tokens, each after the request the narrator would make.

    The request holds the title, but an empty premise: a sentence of the story would give away what is to be predicted. Every
    window but the first repeats `length` characters of the latest text, and says before its last sentence how many words are
    written and left; from 250 words left it asks for the end.
    """
    text, total = measured.story.text, len(measured.words)
    target = round_words(total)
    request = story_request(title=measured.story.title, premise="", target=target)
    nats, done = 0.0, 0  # characters
    while done <= len(text):
        left, note_at = total - measured.words_before(done), last_sentence(text[:done])
        prompt = encoder.request(request)
        if note_at:
            first = measured.sentence_near(max(0, note_at - length))
            note = length_note(target=target, written=max(1, target - left), landing=left <= LANDING_WORDS)
            earlier: Message = {"role": "assistant", "content": text[first:note_at].rstrip()}
            prompt = encoder.request([*request, earlier, note])
        ids, ends = encoder.text_with_ends(text[note_at : note_at + length * 12])
        if note_at + length * 12 >= len(text):
            ids, ends = [*ids, encoder.end], [*ends, len(text) - note_at + 1]
        upto = min(len(ids), length - len(prompt))
        scored = next(number for number, end in enumerate(ends) if end > done - note_at)
        if scored >= upto:
            raise MendableError(f"{length} tokens hold no request, latest text and something to predict.")
        window = torch.tensor([prompt + ids[:upto]])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            logits_TV = model(input_ids=window, use_cache=False).logits[0].float()
        scored += len(prompt)
        nats += F.cross_entropy(logits_TV[scored - 1 : -1], window[0, scored:], reduction="sum").item()
        done = note_at + ends[upto - 1]
    return nats


def all_nats(model: Qwen3ForCausalLM, encoder: Encoder, stories: Sequence[MeasuredStory], length: int) -> float:
    return sum(model_nats(model, encoder, story, length) for story in stories)
