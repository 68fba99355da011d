"""Three pictures of the site for README.md and the help pages, made from what the browser tests leave: `make pictures`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS, PICTURES = ROOT / "tests" / "screenshots", ROOT / "docs" / "pictures"
SOURCES = {"drafting": "story-written-light", "judging": "pair-why-light", "studio": "run-finished-light"}
WIDTH = 1000


def main() -> None:
    for name, source in SOURCES.items():
        path = SCREENSHOTS / f"{source}.png"
        if not path.exists():
            sys.exit(f"There is no {path.relative_to(ROOT)}: the tests of tests/e2e make it.")
        with Image.open(path) as picture:
            small = picture.convert("RGB").resize(
                (WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS
            )
            small.save(PICTURES / f"{name}.webp", quality=85, method=6)


if __name__ == "__main__":
    main()
