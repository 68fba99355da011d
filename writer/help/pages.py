"""The documentation as pages of the site: every Markdown file of `docs/`, with the links and pictures that a code host shows.

A page is named by its path in `docs/` without the `.md`; `docs/README.md`, the first one, is named "". Pages link to each other only,
so that a link means the same on a code host and here. Raw HTML is shown as text.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.templatetags.static import static
from django.urls import reverse
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token

DOCS: Path = settings.BASE_DIR / "docs"
COMMENT = re.compile(r"^<!-- .* -->\n", re.MULTILINE)
TITLE = 3
"""Tokens of the first line, which is the title: its beginning, its words, its end."""


@dataclass(frozen=True)
class Page:
    title: str
    html: str
    """The page without its title."""
    sections: list[tuple[str, str]]
    """Anchor and words of each heading of the second level."""


@cache
def files() -> dict[str, Path]:
    """The file of each page."""
    found = {path.relative_to(DOCS).with_suffix("").as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
    found[""] = found.pop("README")
    return found


@cache
def page(name: str) -> Page:
    """The page with this name. Raises KeyError."""
    tokens = MARKDOWN.parse(COMMENT.sub("", files()[name].read_text("utf-8")))
    for token in tokens:
        for child in token.children or ():
            _lead_here(child, name)
    (_, title, _), *parts = headings(tokens)
    for heading, _, anchor in parts:
        heading.attrSet("id", anchor)
    sections = [(anchor, words) for heading, words, anchor in parts if heading.tag == "h2"]
    return Page(title, MARKDOWN.renderer.render(tokens[TITLE:], MARKDOWN.options, {}), sections)


def headings(tokens: Sequence[Token]) -> Iterator[tuple[Token, str, str]]:
    """Each heading with its words and its anchor. Anchors are GitHub's: lower case, hyphens for spaces, a number for repeated ones."""
    met: Counter[str] = Counter()
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(child.content for child in inline.children or () if child.type in ("text", "code_inline"))
            anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            met[anchor] += 1
            yield token, words, f"{anchor}-{met[anchor] - 1}" if met[anchor] > 1 else anchor


def _lead_here(token: Token, name: str) -> None:
    """Point a relative link at the page of the site, and a picture at its static file."""
    attribute = {"link_open": "href", "image": "src"}.get(token.type, "")
    parts = urlsplit(str(token.attrGet(attribute) or ""))
    if parts.scheme or not parts.path:
        return
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), parts.path))
    if attribute == "src":
        token.attrSet("src", static(f"help/{target.removeprefix('pictures/')}"))
    else:
        other = target.removesuffix(".md")
        address = reverse("help") if other == "README" else reverse("help", args=[other])
        token.attrSet("href", f"{address}#{parts.fragment}" if parts.fragment else address)


def _code(_renderer: Any, tokens: Sequence[Token], at: int, *_: Any) -> str:
    """A block that is wider than the page can be scrolled, also by keyboard."""
    return f'<pre tabindex="0"><code>{escapeHtml(tokens[at].content)}</code></pre>\n'


MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
MARKDOWN.add_render_rule("fence", _code)
MARKDOWN.add_render_rule("code_block", _code)
MARKDOWN.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
MARKDOWN.add_render_rule("table_close", lambda *_: "</table></div>\n")
