"""A story as a file: the text unchanged, and in Markdown only the story's own marks have a meaning."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.cast import write
from writer.accounts.models import User
from writer.stories.models import Generation, ModelVersion, State
from writer.stories.operations.create_story import create_story
from writer.stories.operations.export import markdown
from writer.stories.operations.leave import export_all

READ = MarkdownIt("commonmark", {"html": True})
PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "<https://evil.example>",
    "[a]: https://evil.example\n[a]",
    "`code` and ```fence```",
    "```\nfence\n```",
    "    indented code",
    "# not a heading\n## neither",
    "1. not a list\n2) neither",
    "- not a list\n+ neither\n* neither",
    "> not a quote",
    "Not a heading\n===",
    "Not a heading\n---",
    "a | b\n--|--\n1 | 2",
    "&amp; &#60;script&#62;",
    "back\\slash \\<b>",
    "_under_ __score__ ~~struck~~",
    "***",
    "* * *\n* * *",
    "two  \nlines",
    "\ttab",
]
ALLOWED = {
    "paragraph_open", "paragraph_close", "heading_open", "heading_close", "inline", "text", "hr", "em_open", "em_close",
    "strong_open", "strong_close", "softbreak", "hardbreak", "text_special",
}  # fmt: skip


def tokens(source: str) -> list[str]:
    found: list[str] = []
    for token in READ.parse(source):
        found += [token.type, *(child.type for child in token.children or [])]
    return found


def read(source: str) -> str:
    """What a reader of the Markdown sees, without the title."""
    lines = [token.children or [] for token in READ.parse(source)[3:] if token.type == "inline"]
    return "\n\n".join(
        "".join("\n" if part.type.endswith("break") else part.content for part in line) for line in lines
    )


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_a_story_becomes_markup(payload: str) -> None:
    source = markdown(payload, f"Before.\n\n{payload}\n\nAfter.")
    assert set(tokens(source)) <= ALLOWED
    assert "<script>" not in READ.render(source)
    assert READ.render(source).count("<h1>") == 1


@given(st.text(st.sampled_from("ab1.)(#-+=>[]<!&`~_|\\ \n:/"), max_size=30))
def test_it_reads_as_it_was_written(text: str) -> None:
    source = markdown("T", text)
    assert set(tokens(source)) <= ALLOWED
    shown = "".join(read(source).split())
    for line in text.split("\n"):
        text = text if not line.strip().startswith("## ") else text.replace("## ", "", 1)
    assert shown == "".join(text.split())


def test_the_marks_of_a_story_mean_what_they_mean() -> None:
    source = markdown("The Lamp", "## One\n\nIt was *very* dark.\nA line of verse.\n\n* * *\n\nLight.")
    assert READ.render(source) == (
        "<h1>The Lamp</h1>\n<h2>One</h2>\n<p>It was <em>very</em> dark.<br />\nA line of verse.</p>\n<hr />\n<p>Light.</p>\n"
    )


@pytest.mark.django_db
def test_a_download_is_a_file_and_never_a_page(
    owner: User, generation: Generation, sign_in: Callable[..., Client]
) -> None:
    write(generation, "<b>One.</b>", "\n\n🌊 *Two.*", state=State.DONE)
    client = sign_in(owner)
    for kind, content in (
        ("txt", "<b>One.</b>\n\n🌊 *Two.*"),
        ("md", "# The Lamp\n\n\\<b\\>One.\\</b\\>\n\n🌊 *Two.*\n"),
    ):
        response = client.get(f"/stories/{generation.story_id}/download.{kind}")
        assert response.content.decode() == content
        assert response["Content-Disposition"].startswith(f'attachment; filename="the-lamp.{kind}"')
        assert response["X-Content-Type-Options"] == "nosniff"
    assert client.get(f"/stories/{generation.story_id}/download.html").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("title", ["孔乙己", 'a"b\\c;d', "../../etc/passwd", "…", "é" * 200])
def test_a_title_makes_a_safe_file_name(
    title: str, owner: User, model: ModelVersion, sign_in: Callable[..., Client]
) -> None:
    story = create_story(owner=owner, title=title, premise="p", target_words=300, text="x")
    header = sign_in(owner).get(f"/stories/{story.pk}/download.txt")["Content-Disposition"]
    assert header.isascii()
    name = header.split('"')[1]
    assert not set(name) & set('/\\";')
    assert name.endswith(".txt")


@pytest.mark.django_db
def test_everything_of_a_person_in_one_file(owner: User, generation: Generation) -> None:
    write(generation, "One.", state=State.DONE)
    create_story(owner=owner, title="The Lamp", premise="p", target_words=300, text="Another.")
    with zipfile.ZipFile(io.BytesIO(export_all(user=owner).content)) as archive:
        names = archive.namelist()
        everything = json.loads(archive.read("stories.json"))
    assert len(names) == 3
    assert {story["full_text"] for story in everything} == {"One.", "Another."}
