"""The help pages. They need no sign-in, since they contain no data of the site, and people may need them to sign in."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from writer.help import pages


@require_safe
def help_page(request: HttpRequest, name: str = "") -> HttpResponse:
    """help/page.html with `page` and `name`."""
    try:
        page = pages.page(name)
    except KeyError:
        raise Http404 from None
    return render(request, "help/page.html", {"page": page, "name": name})
