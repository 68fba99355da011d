"""Numbers as people write them, as patterns and values: digits, with or without a scale ("1.5k", "2 mil"), and numerals in words.

A numeral of a European language is a sum of words, each multiplied by the hundred or thousand after it, whether they stand apart ("deux mille
cinq cents") or not ("zweitausendfünfhundert"). So one table and one rule serve all of them. Each pattern matches in linear time.
"""

from __future__ import annotations

import regex


def _counted(words: str, first: int = 1, step: int = 1) -> dict[str, float]:
    """Return the values of words that follow each other; those with a stroke between them are forms of one number."""
    numbered = enumerate(words.split())
    return {form: first + step * place for place, forms in numbered for form in forms.split("|")}


_ENGLISH = _counted(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
) | _counted("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
_GERMAN = (
    _counted("ein|eins|eine|einen zwei|zwo drei vier fünf|fuenf sechs|sech sieben|sieb acht neun zehn elf zwölf|zwoelf")
    | _counted("zwanzig dreißig|dreissig vierzig fünfzig|fuenfzig sechzig siebzig achtzig neunzig", 20, 10)
    | {"einhalb": 0.5, "anderthalb": 1.5}
)
_FRENCH = (
    _counted("un|une deux trois quatre cinq six sept huit neuf dix|dizaine onze douze treize quatorze quinze|quinzaine seize")
    | _counted("vingt|vingts|vingtaine trente|trentaine quarante|quarantaine cinquante|cinquantaine soixante|soixantaine septante", 20, 10)
    | _counted("huitante|octante|quatre-vingt|quatre-vingts nonante", 80, 10)
)  # fmt: skip
_SPANISH = (
    _counted("uno|una|ún|un dos|dós tres|trés cuatro cinco seis|séis siete|sete ocho nueve|nove diez|dieci once doce trece catorce quince")
    | _counted("veinte|veinti treinta cuarenta cincuenta sesenta setenta ochenta noventa", 20, 10)
    | {"quinientos": 500, "quinientas": 500}
)  # fmt: skip
_ITALIAN = (
    _counted("uno due tre|tré quattro cinque sei sette|assette otto nove|annove dieci|dici undici dodici tredici quattordici quindici sedici")
    | _counted("venti|vent trenta|trent quaranta|quarant cinquanta|cinquant sessanta|sessant settanta|settant ottanta|ottant novanta|novant", 20, 10)
)  # fmt: skip
_PORTUGUESE = (
    _counted("um|uma dois|duas três|tres quatro cinco seis|sseis sete|ssete oito nove dez|deza|deze onze doze treze quatorze|catorze quinze")
    | _counted("vinte trinta quarenta cinquenta sessenta setenta oitenta noventa", 20, 10)
    | _counted("duzentos|duzentas trezentos|trezentas", 200, 100)
    | {"quinhentos": 500, "quinhentas": 500}
)  # fmt: skip
_DUTCH = _counted("een|één twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien") | _counted(
    "twintig dertig veertig vijftig zestig zeventig tachtig negentig", 20, 10
)
_RUSSIAN = (
    _counted("один|одна|одну два|две три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать четырнадцать")
    | _counted("пятнадцать шестнадцать семнадцать восемнадцать девятнадцать двадцать", 15)
    | _counted("тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто сто", 30, 10)
    | {"двести": 200, "триста": 300, "четыреста": 400, "пятьсот": 500, "шестьсот": 600, "семьсот": 700, "восемьсот": 800, "девятьсот": 900}
    | {"полторы": 1.5}
)  # fmt: skip
_FOREIGN = _GERMAN | _FRENCH | _SPANISH | _ITALIAN | _PORTUGUESE | _DUTCH | _RUSSIAN

_ALONE = {
    **dict.fromkeys(("hundert", "cent", "cien", "ciento", "cento", "cem", "honderd"), 100),
    **dict.fromkeys(("tausend", "mille", "mil", "duizend", "тысяча", "тысячу"), 1000),
}
"""Scales that are a number by themselves."""
_AFTER_A_NUMBER = {
    **dict.fromkeys(("cents", "centaine", "centaines", "cientos", "cientas", "centos", "centas", "centenar", "centenares"), 100),
    **dict.fromkeys(("millier", "milliers", "millar", "millares", "miles", "mila", "тысячи", "тысяч"), 1000),
}  # fmt: skip
"""Scales that are none: "plusieurs centaines de mots"."""
_SCALES = (
    {"hundred": 100, "thousand": 1000, "k": 1000, "千": 1000, "万": 10_000, "萬": 10_000} | _ALONE | _AFTER_A_NUMBER
)
_HAN = {one: number % 10 for number, one in enumerate("〇一二三四五六七八九")} | {"零": 0, "两": 2, "兩": 2}
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "萬": 10_000}


def _any_of(*names: dict[str, float] | dict[str, int]) -> str:
    """Return a pattern of the names, longer ones first, so that none matches as the beginning of another."""
    return "|".join(sorted({name for some in names for name in some}, key=lambda name: (-len(name), name)))


ENGLISH_NAMES = _any_of(_ENGLISH)
_ENGLISH_NUMBER = (
    rf"\b(?:an?[\s-]+(?=hundred|thousand)|(?:{ENGLISH_NAMES})\b)"
    rf"(?:[\s-]*(?:and\s+)?(?:{ENGLISH_NAMES}|hundred|thousand|a\s+half)\b){{0,7}}"
)
_PART = f"(?:{_any_of(_FOREIGN, _ALONE, _AFTER_A_NUMBER)})"
_WORD = rf"(?>{_PART}(?:(?:und|[eë]n)?{_PART}){{0,7}}\b)"
_FOREIGN_NUMBER = (  # "some thousand" is no number, and an English unit makes "elf" and "once" English
    r"(?<!\b(?:paar|mehrere|einige|wenige|viele|enkele)\s)"
    rf"\b(?!(?:{_any_of(_AFTER_A_NUMBER)})\b){_WORD}(?:[\s-]+(?:(?:und|en|et|y|e|и)\s+)?{_WORD}){{0,7}}(?!\+?[\s-]*words?\b)"
)
SPELT = rf"{_ENGLISH_NUMBER}|{_FOREIGN_NUMBER}"
_HAN_CHARACTER = "[〇零一二两兩三四五六七八九十百千万萬]"
HAN = f"(?<!{_HAN_CHARACTER}){_HAN_CHARACTER}{{1,12}}"

_FOREIGN_NOUN = r"\s?(?:mots\b|pala[bv]ras\b|parole\b|wör|woer|worte|woorden|слов)"
_NOT_ENGLISH = rf"(?:\s?(?:[-–—]|(?:à|a|et|bis|und|y|e|tot|до)\s)\s?\d[\d\s.,'’]{{0,12}})?{_FOREIGN_NOUN}"
_THOUSANDS = (  # with a space, "chapter 3 400 words" is possible in English
    rf"\d{{1,3}}(?:(?:[,.'’\u00a0\u202f]\d{{3}}){{1,2}}|\u0020[05]00|\u0020\d{{3}}(?={_NOT_ENGLISH}))(?!\d)"
)
_DIGITS = rf"{_THOUSANDS}|\d{{1,9}}(?:[.,]\d{{1,3}})?"
FIGURES = (
    rf"(?<![\p{{N}}A-Za-z]|\p{{N}}[.,])(?:{_DIGITS})"
    rf"(?:\s?(?:k\b|千|万|萬)|[\s-](?:hundred|thousand|{_any_of(_ALONE, _AFTER_A_NUMBER)})\b)?"
)
NUMBER = rf"{FIGURES}|{SPELT}|{HAN}"

_READ = regex.compile(r"(?P<thousands>\d{1,3}(?:[,.'’\u00a0\u202f\u0020]\d{3}){1,2}(?!\d))|\d+(?:[.,]\d+)?")
_ENGLISH_PARTS = regex.compile(rf"(?:(?:and|an?)?[\s-]*(?P<part>a\s+half|{ENGLISH_NAMES}|hundred|thousand)[\s-]*)+")
_FOREIGN_PARTS = regex.compile(rf"(?:(?:und|[eë]n|et|y|e|и)?[\s-]*(?P<part>{_PART})[\s-]*)+")


def value(text: str) -> tuple[int, int]:
    """Return the number that a text spells, which `NUMBER` matches, and the scale at its end: 1,000 for "2k" and "two thousand".

    >>> [value(text)[0] for text in ("1.5k", "2 mil", "2.000", "zweitausendfünfhundert", "quatre-vingt-dix", "两千")]
    [1500, 2000, 2000, 2500, 90, 2000]
    """
    if regex.fullmatch(HAN, text):
        return _han(text), 1
    digits = _READ.match(text)
    if digits is None:
        return _spelt(text.lower())
    scale = _SCALES.get(text[digits.end() :].strip(" -\u00a0\n\t").lower(), 1)
    if digits["thousands"]:
        return int(regex.sub(r"\D", "", digits[0])) * scale, scale
    return round(float(digits[0].replace(",", ".")) * scale), scale


def is_foreign(text: str) -> bool:
    """Return whether a number is spelt in words that are not English."""
    return not regex.match(r"\p{N}", text) and not regex.fullmatch(rf"{_ENGLISH_NUMBER}|{HAN}", text, regex.IGNORECASE)


def _spelt(text: str) -> tuple[int, int]:
    """Return the value of a European numeral, and the scale at its end.

    >>> [_spelt(text)[0] for text in ("two and a half thousand", "fifteen hundred", "a thousand five hundred and twenty-one")]
    [2500, 1500, 1521]
    >>> [_spelt(text)[0] for text in ("fünfundzwanzigtausend", "treinta y cinco mil", "mille deux cent quatre-vingts", "duemilacinquecento")]
    [25000, 35000, 1280, 2500]
    """
    total = current = 0.0
    scale = 1
    parts = _ENGLISH_PARTS.fullmatch(text) or _FOREIGN_PARTS.fullmatch(text.replace("quatre vingt", "quatre-vingt"))
    for name in parts.captures("part") if parts else ():
        scale = _SCALES.get(name, 1)
        if scale == 1000:
            total, current = total + (current or 1) * 1000, 0
        elif scale == 100:
            current = (current or 1) * 100
        else:
            current += 0.5 if name.endswith("half") else _ENGLISH.get(name) or _FOREIGN[name]
    return round(total + current), scale


def _han(text: str) -> int:
    """Return the value of a Chinese numeral.

    >>> [_han(text) for text in ("两千", "一万二千", "八百五十", "十五", "二〇〇〇", "两千五")]
    [2000, 12000, 850, 15, 2000, 2500]
    """
    if not any(one in _HAN_SCALES for one in text):
        return int("".join(str(_HAN[one]) for one in text))
    total = current = digit = 0
    for one in text:
        if one in _HAN:
            digit = _HAN[one]
        elif _HAN_SCALES[one] == 10_000:
            total, current, digit = (total + current + digit) * 10_000, 0, 0
        else:
            current, digit = current + (digit or 1) * _HAN_SCALES[one], 0
    if len(text) > 1 and (last := _HAN_SCALES.get(text[-2], 0)) > 10:  # "two thousand five" is 2,500
        digit *= last // 10
    return total + current + digit
