"""The tokenizer of the demo model: byte-level BPE with a ChatML template.

Text never becomes a control token: `<|im_end|>` in a story or a premise is encoded as plain characters.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.common.errors import MendableError
from training.common.text import Message

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)

# Line breaks are pieces of their own (a blank line is one token), words include their apostrophes, and each digit is a piece of its own, so that
# the model can read numbers of words that are not in its training data.
PIECES = r"\n+|\p{N}| ?[\p{L}\p{M}]+(?:[’'][\p{L}\p{M}]+)?| ?[^\s\p{L}\p{M}\p{N}]+|[^\S\n]+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer with `vocabulary` tokens, including the three control tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in (PAD, START, END)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Write the files that transformers, vLLM and plain `tokenizers` load."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        additional_special_tokens=[START],
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


class Encoder:
    """Encodes messages like the chat template, with control tokens only where the template has them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.encode_special_tokens = True  # encodes special tokens in texts like other text
        self.pad, self.start, self.end = (self._control(token) for token in (PAD, START, END))

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")))

    def _control(self, token: str) -> int:
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise MendableError(f"The tokenizer has no control token {token}: it is not a demo model's tokenizer.")
        return int(number)

    def text(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def text_with_ends(self, text: str) -> tuple[list[int], list[int]]:
        """Return the tokens of `text`, and for each the position in characters where it ends. (A word's token starts with the space before it.)"""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.ids), [end for _, end in encoding.offsets]

    def request(self, messages: list[Message]) -> list[int]:
        """Return the tokens of `messages` up to where the assistant's text begins (`add_generation_prompt`)."""
        tokens: list[int] = []
        for message in messages:
            tokens += [self.start, *self.text(f"{message['role']}\n{message['content']}"), self.end, *self.text("\n")]
        return [*tokens, self.start, *self.text("assistant\n")]
