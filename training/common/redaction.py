"""Keys and tokens kept out of what a run writes: `redact` is applied to each line of events.jsonl and to the copy of the settings.

There are two ways to know one: it is the value of an environment variable whose name says so, or it has a shape that only keys have.
What is JSON stays JSON: its strings are decoded, redacted and encoded one by one, and nothing else of it is touched.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

HIDDEN = "[hidden]"
SHORTEST = 8
"""Characters of a variable's value that counts as a secret: shorter ones stand in any text."""

# The end of a word counts, so that neither TOKENIZERS_PARALLELISM nor GIT_AUTHOR_NAME is taken for one.
_NAME = re.compile(r"(?:KEY|TOKEN)S?(?![A-Z])|AUTH(?!OR(?!I))|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_NUMBER = re.compile(r"[-+.,:_\d\s]*(?:e[-+]?\d+)?", re.IGNORECASE)
_PATH = re.compile(r"(?:~|\.{1,2})?/(?:data|etc|home|mnt|opt|private|proc|root|run|srv|tmp|usr|var|Users)/")

_KEY = re.compile(
    r"""
    -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----  (?: .*? -----END\ [A-Z ]*PRIVATE\ KEY----- | .* )
    | (?<![\w-]) (?:
        hf_[A-Za-z0-9]{20,}                                       # Hugging Face
        | sk-(?=[\w-]*\d)[\w-]{20,}                               # OpenAI, Anthropic and others
        | gh[opsur]_[A-Za-z0-9]{20,} | github_pat_\w{20,}         # GitHub
        | glpat-[\w-]{20,}                                        # GitLab
        | (?:AKIA|ASIA)[A-Z0-9]{16} (?![A-Z0-9])                  # Amazon
        | AIza[\w-]{35}                                           # Google
        | xox[abeprs]-[\w-]{10,}                                  # Slack
        | eyJ[\w-]{5,} \. eyJ[\w-]{5,} (?: \. [\w-]* )?           # a JSON Web Token
    )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_VALUE = r"[^\s\"'\\<>,;&#]+"
_AFTER = [
    # a header with a token, whatever it looks like; without the header's name, what no English word looks like
    re.compile(rf"(\bAuthorization[\"']?\s*[:=]\s*[\"']?(?:Bearer|Basic|Token)\s+){_VALUE}", re.IGNORECASE),
    re.compile(r"(\bBearer\s+)(?=\S*\d|\S{20})[\w.~+/=-]{8,}", re.IGNORECASE),
    # user:password@ of an address, or one long name without a password
    re.compile(r"(://)(?:[^\s/@:\"'<>?#]*:[^\s/\"'<>?#]+|[^\s/@:\"'<>?#]{20,})(?=@)"),
    re.compile(
        rf"([?&;](?:[\w.-]{{0,40}}[_.-])?(?:access|api|auth|client|private)?(?:key|token|secret|password|passwd|auth|signature|credential)=){_VALUE}",
        re.IGNORECASE,
    ),
    # as a shell writes its environment
    re.compile(rf"(\b[A-Z][A-Z0-9_]{{0,60}}(?:_KEY|_TOKEN|SECRET|PASSWORD|PASSWD)=[\"']?)(?=\S{{{SHORTEST}}}){_VALUE}"),
]
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class Redactor:
    """Hides the secrets of an environment, and what has a key's shape, in any text.

    >>> hide = Redactor({"HF_TOKEN": "not-a-usual-one", "HOME": "/home/somebody"})
    >>> hide("not-a-usual-one reads https://me:word@example.org in /home/somebody")
    '[hidden] reads https://[hidden]@example.org in /home/somebody'
    >>> hide('{"text": "Bearer 1234abcd", "loss": 1e-05}')
    '{"text": "Bearer [hidden]", "loss": 1e-05}'
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        values = sorted({value for name, value in environment.items() if _secret(name, value)}, key=len, reverse=True)
        self._own = _any_of(values)

    def __call__(self, text: str) -> str:
        plain = self._plain(text)
        if text.lstrip()[:1] not in ("{", "[", '"') or (plain == text and "\\" not in text):
            return plain  # not JSON, or JSON whose strings are written as they are
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return plain
        return _STRING.sub(self._string, text)

    def _string(self, match: re.Match[str]) -> str:
        value = json.loads(match[0], strict=False)
        hidden = self._plain(value)
        return match[0] if hidden == value else json.dumps(hidden)

    def _plain(self, text: str) -> str:
        if self._own:
            text = self._own.sub(HIDDEN, text)
        text = _KEY.sub(HIDDEN, text)
        for pattern in _AFTER:
            text = pattern.sub(rf"\g<1>{HIDDEN}", text)
        return text


def _secret(name: str, value: str) -> bool:
    """Whether a variable holds one: not where its value is a number, a file's place, or a part of our own mark."""
    if not _NAME.search(name) or len(value) < SHORTEST or value in HIDDEN or _NUMBER.fullmatch(value):
        return False
    if _PATH.match(value):
        return False
    try:
        return not (value.startswith("/") and Path(value).exists())
    except (OSError, ValueError):
        return True


def _any_of(values: list[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, values))) if values else None


@cache
def _of_this_process() -> Redactor:
    return Redactor(os.environ)


def redact(text: str) -> str:
    """`text` with "[hidden]" in place of keys and tokens. The environment is read at the first call."""
    return _of_this_process()(text)
