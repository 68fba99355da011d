"""Runs pieces of Python on the database of a stack, one a line as JSON on the standard input, and answers each with what it printed, or with its traceback."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path

import django


def main() -> None:
    django.setup()
    answers, sys.stdin = sys.stdout, Path(os.devnull).open()  # noqa: SIM115 - as long as the process
    for line in os.fdopen(0):
        said = io.StringIO()
        try:
            with redirect_stdout(said):
                exec(json.loads(line), {})
            answer = {"said": said.getvalue()}
        except BaseException:
            answer = {"failed": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
