"""The word counts of the pages and of the server agree."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.stack import ROOT
from training.common.text import count_words

FRONTEND = ROOT / "writer" / "frontend"
TEXTS = [
    "The lamp-lighter didn't wait.", "孔乙己 is a story", "l’été naïve cafe\u0301 O'Neill’s ''so''", "ひらがなABC カタカナ 漢字", "𝔘𝔫𝔦 🌊 3,000 ½ Ⅳ x²",
    "नमस्ते दुनिया", "שלום־עולם", "a\u200db a\u00adb ー々〆", "* * *", "", "한국어 단어 둘", "e\u0301e\u0301 ’tis rock’n’roll",
]  # fmt: skip


def test_both_counters_count_the_same(tmp_path: Path) -> None:
    texts = list(TEXTS)

    @given(
        st.lists(st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"]), max_size=40), min_size=20, max_size=40)
    )
    @settings(max_examples=60, database=None)
    def collect(some: list[str]) -> None:
        texts.extend(some)

    collect()
    tsc = FRONTEND / "node_modules" / ".bin" / "tsc"
    options = [
        "--ignoreConfig",
        "--target",
        "esnext",
        "--module",
        "esnext",
        "--lib",
        "es2024,dom",
        "--types",
        "",
        "--outDir",
    ]
    subprocess.run([tsc, "src/shared/text.ts", *options, tmp_path], cwd=FRONTEND, check=True)
    (tmp_path / "text.js").rename(tmp_path / "text.mjs")
    script = tmp_path / "count.mjs"
    script.write_text(
        'import { countWords } from "./text.mjs"; import { readFileSync } from "node:fs";'
        'console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(countWords)));'
    )
    answer = subprocess.run(["node", script], input=json.dumps(texts), capture_output=True, text=True, check=True)
    differing = [
        (text, here, there)
        for text, here, there in zip(texts, map(count_words, texts), json.loads(answer.stdout), strict=True)
        if here != there
    ]
    assert differing == []
