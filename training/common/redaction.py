"""Keeps keys and tokens out of the files of a run: `redact` is applied to each line of events.jsonl and to the copy of the settings.

A secret is the value of an environment variable with a name such as `..._KEY`, or a string in the format of a known kind of key. JSON stays
valid: its strings are decoded, redacted and encoded one by one, and nothing else is changed.
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
"""The least length of a variable's value that is a secret: shorter ones occur in ordinary text."""

# Words must end here, so that TOKENIZERS_PARALLELISM and GIT_AUTHOR_NAME do not match.
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
    # a header with a token of any format; without the header's name, only what is not an English word
    re.compile(rf"(\bAuthorization[\"']?\s*[:=]\s*[\"']?(?:Bearer|Basic|Token)\s+){_VALUE}", re.IGNORECASE),
    re.compile(r"(\bBearer\s+)(?=\S*\d|\S{20})[\w.~+/=-]{8,}", re.IGNORECASE),
    # user:password@ in an address, or one long name without a password
    re.compile(r"(://)(?:[^\s/@:\"'<>?#]*:[^\s/\"'<>?#]+|[^\s/@:\"'<>?#]{20,})(?=@)"),
    re.compile(
        rf"([?&;](?:[\w.-]{{0,40}}[_.-])?(?:access|api|auth|client|private)?(?:key|token|secret|password|passwd|auth|signature|credential)=){_VALUE}",
        re.IGNORECASE,
    ),
    # a shell's environment
    re.compile(rf"(\b[A-Z][A-Z0-9_]{{0,60}}(?:_KEY|_TOKEN|SECRET|PASSWORD|PASSWD)=[\"']?)(?=\S{{{SHORTEST}}}){_VALUE}"),
]
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class Redactor:
    """Replaces the secrets of an environment, and strings in the format of a key, in any text.

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
            return plain  # not JSON, or JSON without escapes in its strings
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
    """Return whether a variable holds a secret. A number, a file's path and a part of HIDDEN are none."""
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
def _process_redactor() -> Redactor:
    return Redactor(os.environ)


def redact(text: str) -> str:
    """Return `text` with "[hidden]" in place of keys and tokens. The environment is read at the first call."""
    return _process_redactor()(text)
