"""The Jinja environment of chat templates, which are programs of strangers: as in transformers, and bounded in time.

Jinja's sandbox keeps a template from the machine, and from ranges of more than 100,000 numbers. Loops within loops and macros that call each
other could still go on for ever, so each turn of a loop and each call looks at the time that the template has used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 2.0
"""Of a processor, for one rendering. A template of a published model takes milliseconds."""
_UNTIL = "_longhand_until"


class Endless(TemplateError):
    """A template did not end in time."""


def compile_template(source: str) -> Callable[..., str]:
    """Return a function that renders a chat template with the variables that it is given.

    Raises jinja2.TemplateError for what is no template; the function raises Endless, and whatever a template may raise.
    """
    template = _environment().from_string(source)
    return lambda **values: template.render(**values, **{_UNTIL: time.thread_time() + SECONDS})


class _Environment(ImmutableSandboxedEnvironment):
    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_in_time", [], [], None, None, lineno=loop.lineno)
        return tree

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _check_time(context)
        return super().call(context, obj, *args, **kwargs)


class _Generation(Extension):
    """The tag `generation`, with which some templates mark answers for transformers. It changes no text."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@pass_context
def _in_time(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _check_time(context)
        yield item


def _check_time(context: Context) -> None:
    if time.thread_time() > context.get(_UNTIL, 0.0):
        raise Endless(f"it has not ended after {SECONDS:g} seconds")


def _environment() -> ImmutableSandboxedEnvironment:
    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **form: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **form)

    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters |= {"tojson": tojson, "_in_time": _in_time}
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now(UTC).strftime(form),
    }
    return environment
