"""The length that a request names, in the forms that people write it in."""

from __future__ import annotations

import time

import pytest

from training.common.lengths import LengthAsked, length_asked


def about(words: int) -> LengthAsked:
    return LengthAsked(words, words)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("It should be approximately 900 words long.", about(900)),
        ("A 2,000-word story.", about(2000)),
        ("A 5000 word novelette", about(5000)),
        ("~1500 words", about(1500)),
        ("In 1.5k words.", about(1500)),
        ("2k words", about(2000)),
        ("2.5 thousand words", about(2500)),
        ("A two-thousand-word story", about(2000)),
        ("fifteen hundred words", about(1500)),
        ("five hundred and fifty words", about(550)),
        ("A six-word story", about(6)),
        ("2000 (two thousand) words", about(2000)),
        ("1,000 or so words", about(1000)),
        ("Word count: 2000", about(2000)),
        ("Say it in 0 words.", about(0)),
        ("2.000 Wörter, bitte", about(2000)),
        ("en 2\u202f000 mots", about(2000)),
        ("写一篇2000字的小说", about(2000)),
        ("２０００字", about(2000)),
        ("两千字左右", about(2000)),
        ("1.5万字", about(15_000)),
        ("一万二千字", about(12_000)),
        ("字数：3000", about(3000)),
        ("3500文字程度", about(3500)),
        ("two and a half thousand words", about(2500)),
        ("兩千字", about(2000)),
        ("两千五百个汉字", about(2500)),
        ("一千二百餘字", about(1200)),
        ("zweitausend Woerter", about(2000)),
        ("Eine Geschichte von zweitausendfünfhundert Wörtern.", about(2500)),
        ("fünfundzwanzigtausend Wörter", about(25_000)),
        ("sechzehnhundert Wörter", about(1600)),
        ("Tausend Wörter, bitte.", about(1000)),
        ("2 tausend Wörter", about(2000)),
        ("eine 500-Wörter-Geschichte", about(500)),
        ("2000 Worte", about(2000)),
        ("dos mil palabras", about(2000)),
        ("Un cuento de dos mil quinientas palabras.", about(2500)),
        ("mil doscientas treinta y cinco palabras", about(1235)),
        ("ochocientas palabras", about(800)),
        ("2 mil palabras", about(2000)),
        ("2.000 palabras", about(2000)),
        ("2,000 palabras", about(2000)),
        ("deux mille mots", about(2000)),
        ("Une histoire de mille cinq cents mots.", about(1500)),
        ("quatre-vingt-dix-neuf mots", about(99)),
        ("quatre vingts mots", about(80)),
        ("soixante et onze mots", about(71)),
        ("un millier de mots", about(1000)),
        ("une centaine de mots", about(100)),
        ("2 000 mots", about(2000)),
        ("1 200 mots", about(1200)),
        ("12 400 mots", about(12_400)),
        ("duemilacinquecento parole", about(2500)),
        ("mil e quinhentas palavras", about(1500)),
        ("tweeduizend vijfhonderd woorden", about(2500)),
        ("две тысячи слов", about(2000)),
    ],
)
def test_one_number(text: str, asked: LengthAsked) -> None:
    assert length_asked([text]) == asked


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("between 800 and 1,000 words", 800, 1000),
        ("from 800 to 1000 words", 800, 1000),
        ("1500–2000 words", 1500, 2000),
        ("two to three thousand words", 2000, 3000),
        ("1-2k words", 1000, 2000),
        ("1500到2000字", 1500, 2000),
        ("at most 500 words", None, 500),
        ("no more than about 900 words", None, 900),
        ("not exceeding 700 words", None, 700),
        ("500 words max", None, 500),
        ("a story under 1,000 words", None, 1000),
        ("不超过一千字", None, 1000),
        ("八百字以内", None, 800),
        ("at least 1,000 words", 1000, None),
        ("2000+ words", 2000, None),
        ("zwischen achthundert und tausend Wörtern", 800, 1000),
        ("entre mille et deux mille mots", 1000, 2000),
        ("entre 1 200 et 1 500 mots", 1200, 1500),
        ("de 800 a 1.000 palabras", 800, 1000),
        ("1 200–1 500 mots", 1200, 1500),
        ("Part 3 400-600 words", 400, 600),
        ("höchstens 500 Wörter", None, 500),
        ("mindestens tausend Wörter", 1000, None),
        ("au plus cinq cents mots", None, 500),
        ("pas moins de 500 mots", 500, None),
        ("no más de quinientas palabras", None, 500),
        ("al menos mil palabras", 1000, None),
        ("2,000 words or more", 2000, None),
        ("不少于800字", 800, None),
        ("字数要求：不少于1500", 1500, None),
        ("It has at least 800 words and at most 1,000 words.", 800, 1000),
    ],
)
def test_bounds(text: str, low: int | None, high: int | None) -> None:
    assert length_asked([text]) == (low, high)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["A man who said 3 words. Write 2,000 words."], 2000),
        (["A 2,000-word story about a telegram of 12 words."], 2000),
        (["Each paragraph has 100 words. The whole text 1,000 words."], 1000),
        (["Five chapters of 400 words each."], 2000),
        (["A story of 1000 words. Each chapter should have 300 words."], 1000),
        (["Shorten this 3,000-word draft to 500 words."], 500),
        (["Cut it from 2,000 to 500 words."], 500),
        (["A title of at most 5 words, 1500 words in total."], 1500),
        (["1,500 words; the opening paragraph should be 150 words."], 1500),
        (["全文3000字，每段200字"], 3000),
        (["Write 500 words.", "Now make it 1,200 words."], 1200),
        (["Write 900 words.", "The note in it has 12 words."], 900),
        (["Write a 100-word summary."], 100),
        (["Fünf Kapitel mit je vierhundert Wörtern."], 2000),
        (["Trois chapitres de mille mots chacun."], 3000),
        (["Dos mil palabras; cada párrafo, cien palabras."], 2000),
        (["Ein Brief von zwölf Wörtern; die Geschichte hat tausend Wörter."], 1000),
    ],
)
def test_the_number_of_the_whole_text_counts(texts: list[str], words: int) -> None:
    found = length_asked(texts)
    assert found is not None
    assert found.target == words


@pytest.mark.parametrize(
    "text",
    [
        "A poem.",
        "In your own words.",
        "Write 3 pages about 1984.",
        "写一个四字成语的故事",
        "Paragraphs of 100 words each.",
        "Absätze von hundert Wörtern je Absatz.",
        "Ein paar tausend Wörter.",
        "Plusieurs centaines de mots.",
        "Dis-le en deux mots.",
        "In anderen Worten, und Wörter dazu.",
        "Tell me once, words fail me: elf words and once words.",
        "",
    ],
)
def test_none(text: str) -> None:
    assert length_asked([text]) is None


@pytest.mark.parametrize(
    "part",
    [
        "one hundred and ",
        "1 ",
        "1,111",
        "一二三",
        "word 12 words, ",
        "at most ",
        "between 1 and ",
        "einund",
        "eineinhalb",
        "mille et ",
        "sechsund sechs ",
        "2 mil ",
    ],
)
def test_long_texts_are_read_in_time(part: str) -> None:
    begin = time.process_time()
    length_asked([part * 200_000])
    assert time.process_time() - begin < 5
