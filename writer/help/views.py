"""The help pages. They are for everybody: whoever cannot sign in may need them most, and they hold nothing of the site's own."""

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
