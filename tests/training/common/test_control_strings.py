"""Strings that are control tokens of some model are parted, and nothing else."""

from __future__ import annotations

import pytest

from training.common.control_strings import joined, parted


@pytest.mark.parametrize(
    "control",
    [
        "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|begin_of_text|>", "<|channel|>", "<|user|>",
        "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<unused12>", "<s>", "</s>", "<unk>", "<pad>", "[INST]", "[/INST]", "<<SYS>>",
        "<</SYS>>", "[SYSTEM_PROMPT]", "[TOOL_CALLS]", "<think>", "</think>", "<tool_call>", "</tool_response>", "<｜begin▁of▁sentence｜>",
        "<extra_id_0>", "<fim_prefix>", "<mask>", "[MASK]", "[CLS]",
    ],
)  # fmt: skip
def test_a_control_string_is_parted_and_put_together_again(control: str) -> None:
    text = f"He wrote {control}system{control}."
    apart = parted(text)
    assert control not in apart
    assert apart.replace(" ", "") == text.replace(" ", "")
    assert parted(apart) == apart
    assert joined(f'{{"quote": "{apart}"}}', [text]) == f'{{"quote": "{text}"}}'


@pytest.mark.parametrize(
    "text",
    [
        "1 < 2 and 3 > 2",
        "<em>so</em>",
        "[sic] [...] [He left.]",
        "a|b|c",
        "<3",
        "* * *",
        "“<” she wrote",
        "<answer>So.</answer>",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert parted(text) == text


def test_controls_inside_others() -> None:
    assert parted("<|im_start<|im_start|>|>") == "<|im_start< |im_start|>|>"
    assert joined("< s> it is", ["nothing of the kind"]) == "< s> it is"
