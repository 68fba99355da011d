"""A chat template of a stranger ends, and one of a published model renders as in transformers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from tests.training import models
from training.common.errors import MendableError
from training.datasets import sandbox
from training.datasets.encoding import ChatEncoder
from training.datasets.sandbox import Endless, compile_template
from training.learner.models import load_tokenizer

ENDLESS = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "a loop in a list": "{% set all = range(99999) | list %}{% for a in all %}{{ all | sort | length }}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "a loop in a macro": "{% macro f() %}{% for a in range(99999) %}x{% endfor %}{% endmacro %}{% for a in range(99999) %}{{ f() }}{% endfor %}",
}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "<b>Äpfel</b>"},
    {"role": "assistant", "content": "It rained."},
]
USUAL = {
    "what a loop knows": "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ loop.revindex0 }}{{ loop.previtem.role if not loop.first }}{{ loop.nextitem.role if not loop.last }}\n{% endfor %}",
    "filtered": "{% for m in messages if m.role != 'user' %}{{ loop.length }}{{ m.content }}{% else %}none{% endfor %}{% for m in nothing %}{% else %}none{% endfor %}",
    "backwards": "{% for m in messages[::-1] %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% break %}{% endfor %}",
    "recursive": "{% for m in [[1, [2]], 3] recursive %}{{ loop.depth }}{% if m is iterable %}{{ loop(m) }}{% else %}{{ m }}{% endif %}{% endfor %}",
    "macros": "{% macro say(m, end='!') %}{{ m.content + end }}{% for c in m.role %}{{ c }}-{% endfor %}{% endmacro %}{% for m in messages %}{{ say(m) }}{{ say(m, end=eos_token) }}{% endfor %}",
    "dictionaries": "{% for key, value in messages[0].items() %}{{ key }}={{ value }}{% endfor %}{{ messages | tojson(indent=2) }}{{ messages | tojson(separators=(',', ':')) }}",
    "marked answers": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}",
    "names": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + loop.index %}{% endfor %}{{ ns.n }}",
}


@pytest.mark.parametrize("case", ENDLESS)
def test_a_template_ends(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.3)
    begin = time.thread_time()
    with pytest.raises(Endless, match="has not ended after"):
        compile_template(ENDLESS[case])(messages=MESSAGES)
    assert time.thread_time() - begin < 5


def test_a_range_without_end_is_refused_by_jinja() -> None:
    with pytest.raises(OverflowError):
        compile_template("{% for a in range(10**9) %}{% endfor %}")()


@pytest.mark.parametrize("case", USUAL)
def test_it_renders_as_transformers_does(case: str) -> None:
    given = {"eos_token": "</s>", "add_generation_prompt": True}
    expected, _ = render_jinja_template([MESSAGES], chat_template=USUAL[case], **given)
    assert compile_template(USUAL[case])(messages=MESSAGES, **given) == expected[0]


def test_a_template_without_end_is_refused_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.3)
    tokenizer = load_tokenizer(models.save(models.random_model("llama"), tmp_path))
    tokenizer.chat_template = ENDLESS["loops in loops"]
    with pytest.raises(
        MendableError, match=r"The chat template in .* does not end: it has not ended after 0.3 seconds"
    ):
        ChatEncoder(tokenizer, tmp_path)
