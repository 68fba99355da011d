"""The tokenizer of a model that is trained from scratch: byte-level BPE with a ChatML template.

Text never becomes a control token: a story or a premise that holds the letters of `<|im_end|>` is encoded as letters.
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

# Line breaks are pieces of their own (a blank line is one token), words take their apostrophe along, and each digit stands
# alone, so that the model can read a number of words that it never met.
PIECES = r"\n+|\p{N}| ?[\p{L}\p{M}]+(?:[’'][\p{L}\p{M}]+)?| ?[^\s\p{L}\p{M}\p{N}]+|[^\S\n]+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn a byte-level BPE of `vocabulary` tokens, the three control tokens included."""
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
    """Encodes messages piece by piece, as the chat template renders them, with everything that is text kept as text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.encode_special_tokens = True  # "encode them like other text", in the words of the library
        self.pad, self.start, self.end = (self._control(token) for token in (PAD, START, END))

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")))

    def _control(self, token: str) -> int:
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise MendableError(f"The tokenizer has no control token {token}; it is not one of ours.")
        return int(number)

    def text(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def text_with_ends(self, text: str) -> tuple[list[int], list[int]]:
        """The tokens of `text`, and the character before which each ends (the start is no use: a word takes its space along)."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.ids), [end for _, end in encoding.offsets]

    def request(self, messages: list[Message]) -> list[int]:
        """The tokens of `messages` up to where the assistant's text begins (`add_generation_prompt`)."""
        tokens: list[int] = []
        for message in messages:
            tokens += [self.start, *self.text(f"{message['role']}\n{message['content']}"), self.end, *self.text("\n")]
        return [*tokens, self.start, *self.text("assistant\n")]
