"""The page that is shown when nothing else can be."""

from __future__ import annotations

from django.template.loader import render_to_string


def test_the_error_page_stands_alone_and_is_dressed() -> None:
    page = render_to_string("500.html")
    assert "Something broke on our side" in page
    assert 'rel="stylesheet"' in page
