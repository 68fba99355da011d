"""Keeps text that spells control tokens from becoming control tokens.

A chat template renders a conversation as one string, in which its own control tokens look like the same characters in a text. So each text is
replaced by a placeholder before it is rendered. What is encoded is the whole rendered text, so that its tokens are those of the template; where a
control token would cover characters of a text, the string is divided inside that token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from training.common.errors import MendableError

DELIMITER = "\ue000"  # a private-use character
_PROBE = "A story.\n\nIt was dark."
PLACEHOLDER = re.compile(f"{DELIMITER}\\d+{DELIMITER}")


class Placeholders:
    """Texts, and the placeholders that stand for them in a conversation."""

    def __init__(self, controls: re.Pattern[str] = re.compile(DELIMITER)) -> None:
        self._controls = controls
        self._texts: list[str] = []

    def new(self, text: str) -> str:
        """Return a new placeholder for `text`."""
        self._texts.append(text)
        return f"{DELIMITER}{len(self._texts) - 1}{DELIMITER}"

    def around(self, text: str) -> str:
        """Return a text with a placeholder for all of it but the white space at its ends, which a template may strip."""
        inner = text.strip()
        return text.replace(inner, self.new(inner), 1) if inner else text

    def replace_in(self, value: Any) -> Any:
        """Return a JSON value with placeholders for the control tokens in its strings and keys: a template may write it as JSON, which
        escapes characters."""
        if isinstance(value, str):
            return self._controls.sub(lambda found: self.new(found[0]), value)
        if isinstance(value, dict):
            return {self.replace_in(key): self.replace_in(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.replace_in(one) for one in value]
        return value

    def split(self, rendered: str) -> Iterator[tuple[str, bool]]:
        """Yield the parts of a rendered conversation, and whether each stood behind a placeholder."""
        end = 0
        for found in PLACEHOLDER.finditer(rendered):
            yield rendered[end : found.start()], False
            yield self._texts[int(found[0].strip(DELIMITER))], True
            end = found.end()
        yield rendered[end:], False


class LiteralEncoder:
    """Encodes a text in which control tokens are ordinary characters.

    A control token is an added token, special or not (Qwen's <tool_call>), that is more than white space: Gemma has added tokens for
    blank lines, which a story needs. Raises MendableError for a tokenizer that does not give a text back.
    """

    def __init__(self, tokenizer: Tokenizer, source: object) -> None:
        self._tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        back = tokenizer.decode(self._encoded(_PROBE)[0], skip_special_tokens=False)
        if (
            back.strip() != _PROBE
        ):  # transformers' LlamaTokenizer drops the spaces of a tokenizer of another kind, such as DeepSeek's
            raise MendableError(
                f"The tokenizer in {source} makes {back!r} of {_PROBE!r}: set tokenizer_class in its tokenizer_config.json to "
                "PreTrainedTokenizerFast, or use the model's own tokenizer."
            )
        added = tokenizer.get_added_tokens_decoder().items()
        self.controls = {number: token.content for number, token in added if token.content.replace("▁", " ").strip()}
        self.pattern = _any_of([DELIMITER, *self.controls.values()])
        # Llama 2's tokenizer begins each string with a space. After a division there must be none, so the rest follows a line break there.
        alone, after_break = (self._encoded(text)[0] for text in ("x", "\nx"))
        self._before = "" if after_break[-len(alone) :] == alone else "\n"

    def __call__(self, text: str) -> list[int]:
        return self.with_starts(text, bytearray(b"\1") * len(text))[0]

    def with_starts(self, text: str, literal: bytearray, bounds: Sequence[int] = ()) -> tuple[list[int], list[int]]:
        """Return the tokens, and the character at which each starts.

        `literal` has a 1 for each character that belongs to no control token. No token contains characters from before and after one of
        `bounds`, unless those after it are the template's.
        """
        cuts: set[int] = set()
        while True:
            tokens: list[int] = []
            spans: list[tuple[int, int]] = []
            for begin, end in pairwise([0, *sorted(cuts), len(text)]):
                found, places = self._encoded(text[begin:end], self._before if begin else "")
                tokens += found
                spans += [(begin + start, begin + stop) for start, stop in places]
            more = {
                max(start + 1, literal.find(1, start, stop))
                for token, (start, stop) in zip(tokens, spans, strict=True)
                if token in self.controls and stop - start > 1 and literal.find(1, start, stop) >= 0
            }
            more |= {
                bound
                for bound in bounds
                for start, stop in spans
                if start < bound < stop and literal.find(1, bound, stop) >= 0
            }
            if more <= cuts:  # what is left is a control token of a single character, which cannot be divided
                kept = [
                    (token, start)
                    for token, (start, stop) in zip(tokens, spans, strict=True)
                    if token not in self.controls or literal.find(1, start, stop) < 0
                ]
                return [token for token, _ in kept], [start for _, start in kept]
            cuts |= more

    def _encoded(self, text: str, before: str = "") -> tuple[list[int], list[tuple[int, int]]]:
        if self._tokenizer.encode_special_tokens:  # not set without need: another thread may be encoding
            self._tokenizer.encode_special_tokens = False
        found = self._tokenizer.encode(before + text, add_special_tokens=False)
        kept = [
            (token, (start - len(before), stop - len(before)))
            for token, (start, stop) in zip(found.ids, found.offsets, strict=True)
            if start >= len(before)
        ]
        return [token for token, _ in kept], [span for _, span in kept]


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that tries longer texts first, so that none matches as the beginning of another."""
    return re.compile(f"(?:{'|'.join(map(re.escape, sorted(set(texts), key=lambda one: (-len(one), one))))})")
