"""Keys are hidden, everything else is left alone, and JSON stays JSON."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import training.common.redaction
from tests.training.conftest import made_up_story
from training.common.records import LogLine, Metrics
from training.common.redaction import HIDDEN, Redactor, redact

hide = Redactor({})
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc/+=\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("with hf_" + "aB3" * 11 + " read", "with [hidden] read"),
        ("sk-proj-abcDEF0123456789abcDEF", "[hidden]"),
        ("key: sk-ant-api03-abc_DEF-0123456789.", "key: [hidden]."),
        ("ghp_" + "a1B2" * 9, "[hidden]"),
        ("github_pat_" + "a1_B2" * 9, "[hidden]"),
        ("AKIAIOSFODNN7EXAMPLE,", "[hidden],"),
        ("Authorization: Bearer xyz", "Authorization: Bearer [hidden]"),
        ("{'Authorization': 'Bearer xyz'}", "{'Authorization': 'Bearer [hidden]'}"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic [hidden]"),
        ("Bearer abcd1234efgh said", "Bearer [hidden] said"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-bmF0_dXJl!", "[hidden]!"),
        (f"before {PEM} after", "before [hidden] after"),
        (PEM[:40], "[hidden]"),
        ("postgres://me:pa:s@s@host:5432/db", "postgres://[hidden]@host:5432/db"),
        ("redis://:word@host", "redis://[hidden]@host"),
        ("https://0123456789abcdef01234567@github.com/a/b", "https://[hidden]@github.com/a/b"),
        ("GET /a?api_key=abc&x=1", "GET /a?api_key=[hidden]&x=1"),
        ("http://h/?x=1&access_token=a-b.c#top", "http://h/?x=1&access_token=[hidden]#top"),
        ("HF_TOKEN=abcdefgh python", "HF_TOKEN=[hidden] python"),
        ('AWS_SECRET_ACCESS_KEY="ab/cdefgh+"', 'AWS_SECRET_ACCESS_KEY="[hidden]"'),
    ],
)
def test_what_looks_like_a_key_is_hidden(text: str, hidden: str) -> None:
    assert hide(text) == hidden
    assert json.loads(hide(json.dumps({"text": text, "n": 1}))) == {"text": hidden, "n": 1}
    assert json.loads(hide(json.dumps(["\n" + text]))) == ["\n" + hidden]
    assert hide(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "step 5: loss 2.345, tokens 8,192, learning_rate 1e-05, tokens_per_micro_batch=8192",
        "The key turned in the lock. The bearer of bad news carried a token of love; the password was forgotten.",
        "The Bearer Something of it all, sk-learn, risk-averse and ask-me-anything-you-like-at-all",
        hashlib.sha256(b"a").hexdigest(),
        "sha256:" + hashlib.sha256(b"b").hexdigest(),
        "/home/user/runs/sft/step-000123/manifest.json",
        "model = 'models/Qwen3.5-9B' from https://example.org:8000/a@b?max_tokens=4096&monkey=1",
        "mail me@example.org about http://example.org/~me:too",
        "-----BEGIN CERTIFICATE-----",
        '{"kind":"metrics","time":1.5,"step":3,"values":{"loss":2.5e-7,"key_norm":NaN}}',
        '{"kind": "log", "text": "\\u00e9 \\"quoted\\" \\\\ \\n"}',
        "550e8400-e29b-41d4-a716-446655440000",
        "MAX_TOKENS=100000",
        "",
    ],
)
def test_what_is_no_key_is_left_alone(text: str) -> None:
    assert hide(text) == text


def test_stories_are_left_alone() -> None:
    text = "\n".join(made_up_story(seed, 200) for seed in range(5))
    assert hide(text) == text


def test_values_of_the_environment_by_their_names() -> None:
    names = [
        "API_KEY",
        "HF_TOKEN",
        "MY_SECRETS",
        "PGPASSWORD",
        "DB_PASSWD",
        "CREDENTIALS",
        "BASIC_AUTH",
        "apikey",
        "KEY2",
    ]
    for number, name in enumerate(names):
        value = f"value-of-{number}"
        assert Redactor({name: value})(f"it is {value}.") == "it is [hidden].", name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "sometimes"),
        ("GIT_AUTHOR_NAME", "Ada Lovelace"),
        ("KEYBOARD_LAYOUT", "us-international"),
        ("HF_TOKEN", "short"),
        ("MAX_TOKENS", "1000000000"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-abc/agent.1"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "~/home/key.json"),
        ("SOME_KEY", "[hidden]"),
        ("HOME", "/home/somebody"),
    ],
)
def test_what_is_no_secret_of_the_environment(name: str, value: str) -> None:
    assert Redactor({name: value})(f"a {value} b") == f"a {value} b"


def test_the_longest_secret_is_hidden_whole() -> None:
    own = Redactor({"A_KEY": "abcdefgh", "B_KEY": "abcdefgh-ijkl"})
    assert own("abcdefgh-ijkl abcdefgh") == "[hidden] [hidden]"


def test_the_environment_of_the_process_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    training.common.redaction._of_this_process.cache_clear()
    monkeypatch.setenv("LONGHAND_TEST_TOKEN", "value-for-this-test")
    try:
        assert redact("value-for-this-test") == HIDDEN
        monkeypatch.setenv("LONGHAND_TEST_TOKEN", "another-value-later")
        assert redact("another-value-later") == "another-value-later"
    finally:
        training.common.redaction._of_this_process.cache_clear()


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for pair in value.items() for part in pair for found in strings(part)]
    if isinstance(value, list):
        return [found for part in value for found in strings(part)]
    return [value] if isinstance(value, str) else []


SECRETS = st.text(min_size=8, max_size=30).filter(lambda value: not set(value) <= set("0123456789.,:_+-eE \n\t"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(secret=SECRETS, around=JSON, ascii_only=st.booleans())
@example(secret='","time":1,"', around="", ascii_only=False)
@example(secret='\\"\\"\\\\\\n', around="\\", ascii_only=True)
@example(secret='{"type": "service_account"}', around={"type": "service_account"}, ascii_only=False)
@example(secret="line one\nline two\x7f\u2028", around=None, ascii_only=True)
def test_json_stays_json_and_holds_no_secret(secret: str, around: Any, ascii_only: bool) -> None:
    own = Redactor({"SOME_TOKEN": secret})
    line = json.dumps({"around": around, "text": f"before {secret} after", "n": 1.5}, ensure_ascii=ascii_only)
    hidden = own(line)
    value = json.loads(hidden)
    assert list(value) == ["around", "text", "n"]
    assert value["n"] == 1.5
    if not training.common.redaction._secret("SOME_TOKEN", secret):
        return
    assert secret not in value["text"]
    assert not any(secret in found for found in strings(value)) or secret in f"{HIDDEN}{HIDDEN}"
    assert "\n" not in hidden


@given(text=st.text(), secret=SECRETS)
def test_any_text_can_be_redacted(text: str, secret: str) -> None:
    own = Redactor({"SOME_TOKEN": secret})
    assert own(text + secret + text).count(HIDDEN) >= training.common.redaction._secret("SOME_TOKEN", secret)
    LogLine.model_validate_json(own(LogLine(time=1, text=text + secret).model_dump_json()))


@given(line=JSON.map(json.dumps))
def test_lines_without_a_secret_are_the_same_to_the_letter(line: str) -> None:
    assert hide(line) == line


def test_a_half_of_a_character_can_be_written() -> None:
    hidden = hide(r'{"text": "\ud800 Bearer abc12345"}')
    assert hidden == r'{"text": "\ud800 Bearer [hidden]"}'
    hidden.encode()


def test_it_is_fast_enough_for_every_line() -> None:
    own = Redactor({f"KEY_{number}": f"some-value-{number}" for number in range(20)})
    line = Metrics(time=time.time(), step=5, values={f"measure_{n}": n / 7 for n in range(12)}).model_dump_json()
    start = time.process_time()
    for _ in range(1000):
        own(line)
    assert time.process_time() - start < 1  # a millisecond a line would be much; it is some 30 microseconds


@pytest.mark.parametrize(
    "text", ["eyJ", "sk-", "://", "-----BEGIN PRIVATE KEY-----", "?", "A", "Bearer ", "a:", "&key"]
)
def test_nothing_makes_it_slow(text: str) -> None:
    start = time.process_time()
    hide(text * 20_000)
    hide("x" + text * 20_000 + "@")
    assert time.process_time() - start < 2
