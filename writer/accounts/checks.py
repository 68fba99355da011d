"""Checks and normalises personal data."""

from __future__ import annotations

import re

from writer.refusals import Refused

_UNFIT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")


def checked_name(name: str, field: str = "name") -> str:
    name = _UNFIT.sub("", " ".join(name.split()))
    if not 1 <= len(name) <= 80:
        raise Refused("A name has 1 to 80 characters.", field=field)
    return name
