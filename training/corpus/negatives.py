"""Texts that are not stories, generated to train the learned filter and to measure it.

Most are made from the stories of one side of the split by author, so that they contain no text of the other side. Code and
licences come from the Python installation.
"""

from __future__ import annotations

import random
import re
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from training.common.records import Story

Pool = Sequence[Story]
_CONFUSED = dict(
    pair.split(":", 1)
    for pair in [
        "e:c",
        "c:e",
        "h:li",
        "m:rn",
        "l:1",
        "i:l",
        "o:0",
        "n:u",
        "u:n",
        "t:f",
        "f:t",
        "a:o",
        "s:5",
        "b:h",
        "d:cl",
        "w:vv",
        "r:t",
        "g:q",
        "y:v",
        ",:.",
        ".:,",
    ]
)
_FOREIGN = {
    "fr": "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se fermaient si vite que je n’avais pas"
    " le temps de me dire : je m’endors. Et, une demi-heure après, la pensée qu’il était temps de chercher le sommeil m’éveillait. Nous étions à"
    " l’étude, quand le proviseur entra, suivi d’un nouveau habillé en bourgeois et d’un garçon de classe qui portait un grand pupitre. Ceux qui"
    " dormaient se réveillèrent, et chacun se leva comme surpris dans son travail.",
    "de": "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in seinem Bett zu einem ungeheueren Ungeziefer verwandelt."
    " Er lag auf seinem panzerartig harten Rücken und sah, wenn er den Kopf ein wenig hob, seinen gewölbten, braunen Bauch. Jemand mußte Josef K."
    " verleumdet haben, denn ohne daß er etwas Böses getan hätte, wurde er eines Morgens verhaftet. Die Köchin, die ihm jeden Tag gegen acht Uhr"
    " früh das Frühstück brachte, kam diesmal nicht.",
    "es": "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha mucho tiempo que vivía un hidalgo de los de lanza en astillero, adarga"
    " antigua, rocín flaco y galgo corredor. Una olla de algo más vaca que carnero, salpicón las más noches, duelos y quebrantos los sábados,"
    " lentejas los viernes, consumían las tres partes de su hacienda. Frisaba la edad de nuestro hidalgo con los cincuenta años.",
    "it": "Quel ramo del lago di Como, che volge a mezzogiorno, tra due catene non interrotte di monti, tutto a seni e a golfi, vien, quasi a un tratto,"
    " a ristringersi, e a prender corso e figura di fiume. Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via"
    " era smarrita. C’era una volta un re, diranno subito i miei piccoli lettori. No, ragazzi, avete sbagliato.",
    "la": "Gallia est omnis divisa in partes tres, quarum unam incolunt Belgae, aliam Aquitani, tertiam qui ipsorum lingua Celtae, nostra Galli"
    " appellantur. Arma virumque cano, Troiae qui primus ab oris Italiam fato profugus Laviniaque venit litora. Quo usque tandem abutere, Catilina,"
    " patientia nostra? Quam diu etiam furor iste tuus nos eludet?",
}
_LISTS = """
soap,tonic,corset,bicycle,piano,cocoa,boots,pills,hats,stoves,sewing machine,mattress,phone,software suite,insurance,shoes
finest,purest,best,cheapest,most reliable,award-winning,improved,genuine,world-famous,all-new,limited
cups,ounces,pounds,pieces,spoonfuls,pints,yards,dozen,boxes,bottles,lots,items
"""
_GOODS, _PRAISE, _UNITS = (line.split(",") for line in _LISTS.strip().splitlines())
_CALLS = (
    "Order now!", "Call today for a free sample.", "Send no money.", "Satisfaction guaranteed or your money back.", "As seen in the papers!",
    "Only while stocks last.", "Write to Dept. {n}, Box {n}.", "Now only ${n}.99!", "Save {n}% this week.", "Ask your dealer for {brand}.",
    "Accept no imitations.", "Recommended by {n} doctors out of ten.", "Click here to learn more.", "Free shipping on orders over ${n}.",
)  # fmt: skip


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return [part for part in re.split(r"(?<=[.!?])[”’]?\s+|\n+", text) if part.strip()]


def _words(pool: Pool, rng: random.Random) -> list[str]:
    return re.findall(r"[^\W\d_]{3,}", rng.choice(pool).text)


def _ocr(share: float) -> Callable[[Pool, random.Random], str]:
    """Stories in which this share of the characters is misread."""

    def make(pool: Pool, rng: random.Random) -> str:
        text = rng.choice(pool).text[:20_000]
        out = []
        for character in text:
            drawn = rng.random()
            if drawn > share or character == "\n":
                out.append(character)
            elif drawn < share * 0.15:
                out.append(rng.choice("^~'|.,;:-_!* "))
            else:
                out.append(_CONFUSED.get(character.lower(), character))
        return "".join(out)

    return make


def _shuffled_words(pool: Pool, rng: random.Random) -> str:
    """A story with the words of each sentence in a random order."""
    blocks = []
    for paragraph in rng.choice(pool).text[:20_000].split("\n\n"):
        shuffled = []
        for sentence in sentences(paragraph):
            words = sentence.split()
            rng.shuffle(words)
            shuffled.append(" ".join(words))
        blocks.append(" ".join(shuffled))
    return "\n\n".join(blocks)


def _shuffled_sentences(pool: Pool, rng: random.Random) -> str:
    """A story with its sentences in a random order, in paragraphs of the same lengths."""
    text = rng.choice(pool).text[:30_000]
    lengths = [len(sentences(paragraph)) for paragraph in text.split("\n\n")]
    rest = sentences(text)
    rng.shuffle(rest)
    blocks = []
    for length in lengths:
        blocks.append(" ".join(rest[:length]))
        rest = rest[length:]
    return "\n\n".join(block for block in blocks if block)


def _repetition(pool: Pool, rng: random.Random) -> str:
    """The beginning of a story, then the same sentences repeated with small changes, as small models do."""
    own = sentences(rng.choice(pool).text)
    begun = own[: rng.randrange(5, 40)]
    loop = own[len(begun) : len(begun) + rng.randrange(1, 5)] or begun[-1:]
    other = [word for word in _words(pool, rng) if word.islower()][:200] or ["again"]
    blocks = [" ".join(begun[first : first + 4]) for first in range(0, len(begun), 4)]
    for _ in range(rng.randrange(12, 60)):
        turn = " ".join(loop)
        if rng.random() < 0.5:
            words = turn.split()
            words[rng.randrange(len(words))] = rng.choice(other)
            turn = " ".join(words)
        blocks.append(turn)
    return "\n\n".join(blocks)


def _salad(order: int) -> Callable[[Pool, random.Random], str]:
    """Text from an n-gram model of some stories, with `order` words of context."""

    def make(pool: Pool, rng: random.Random) -> str:
        follow: dict[tuple[str, ...], list[str]] = defaultdict(list)
        words: list[str] = []
        for story in rng.sample(list(pool), min(12, len(pool))):
            words += story.text[:20_000].replace("\n\n", " \n\n ").split(" ")
        for place in range(len(words) - order):
            follow[tuple(words[place : place + order])].append(words[place + order])
        state = tuple(words[:order])
        out = list(state)
        for _ in range(rng.randrange(500, 3000)):
            options = follow.get(state)
            state = (*state[1:], rng.choice(options)) if options else rng.choice(list(follow))
            out.append(state[-1])
        return re.sub(r" *\n\n *", "\n\n", " ".join(out))

    return make


def _contents(pool: Pool, rng: random.Random) -> str:
    page, lines = 1, []
    dots, numbers = rng.choice([" ", " . . . . . ", " ........ ", "  "]), rng.random() < 0.7
    for _ in range(rng.randrange(90, 300)):
        page += rng.randrange(2, 30)
        title = rng.choice(pool).title
        if rng.random() < 0.3:
            title = f"Chapter {rng.randrange(1, 40)}: {title}"
        lines.append(title + (f"{dots}{page}" if numbers else ""))
    return rng.choice(["\n", "\n\n"]).join(lines)


def _index(pool: Pool, rng: random.Random) -> str:
    words = sorted({word for word in _words(pool, rng) if len(word) > 5})[:400]
    return "\n".join(
        f"{word}, {', '.join(str(rng.randrange(1, 600)) for _ in range(rng.randrange(1, 5)))}" for word in words
    )


def _list(pool: Pool, rng: random.Random) -> str:
    words = [word.lower() for word in _words(pool, rng)] or ["thing"]
    mark = rng.choice(["- ", "• ", "* ", "", "{n}. "])
    lines = []
    for number in range(rng.randrange(100, 300)):
        amount = f"{rng.randrange(1, 40)} {rng.choice(_UNITS)} of " if rng.random() < 0.5 else ""
        lines.append(mark.format(n=number + 1) + amount + " ".join(rng.choices(words, k=rng.randrange(1, 5))))
    return "\n".join(lines)


def _advertisement(pool: Pool, rng: random.Random) -> str:
    brands = [word.capitalize() for word in _words(pool, rng)[:50]] or ["Sunrise"]
    blocks = []
    for _ in range(rng.randrange(15, 40)):
        brand, goods = rng.choice(brands), rng.choice(_GOODS)
        lines = [
            f"{brand.upper()} {goods.upper()}",
            f"The {rng.choice(_PRAISE)} {goods} for you and your family, now with {rng.choice(_words(pool, rng)[:200] or ['more']).lower()}.",
            *rng.sample(_CALLS, 3),
        ]
        blocks.append(rng.choice(["\n", " "]).join(lines).format(n=rng.randrange(1, 99), brand=brand))
    return "\n\n".join(blocks)


@cache
def _licences() -> tuple[str, ...]:
    texts = set()
    for found in metadata.distributions():
        for file in found.files or ():
            if re.search(r"licen[cs]e|copying|notice", file.name, re.IGNORECASE) and file.suffix in (
                "",
                ".txt",
                ".md",
                ".rst",
            ):
                path = Path(str(file.locate()))
                if path.is_file() and 2_000 < path.stat().st_size < 200_000:
                    texts.add(path.read_text("utf-8", "replace"))
    return tuple(sorted(texts)) or (
        "Permission is hereby granted, free of charge, to any person obtaining a copy. " * 80,
    )


def _licence(_: Pool, rng: random.Random) -> str:
    text = rng.choice(_licences())
    start = rng.randrange(max(1, len(text) - 6000))
    part = text[start : start + rng.randrange(4000, 12_000)]
    return re.sub(r"(?<=\S)\n(?=\S)", " ", part) if rng.random() < 0.7 else part


@cache
def _modules() -> tuple[Path, ...]:
    return tuple(
        sorted(path for path in Path(sysconfig.get_path("stdlib")).glob("*.py") if path.stat().st_size > 8_000)
    )


def _code(_: Pool, rng: random.Random) -> str:
    text = rng.choice(_modules()).read_text("utf-8", "replace")
    start = rng.randrange(max(1, len(text) - 8000))
    return text[start : start + 8000]


def _foreign(_: Pool, rng: random.Random) -> str:
    foreign = sentences(_FOREIGN[rng.choice(sorted(_FOREIGN))])
    return "\n\n".join(" ".join(rng.choices(foreign, k=rng.randrange(2, 5))) for _ in range(20))


def _web_page(pool: Pool, rng: random.Random) -> str:
    titles = [rng.choice(pool).title for _ in range(60)]
    menu = ["Home", "About", "Contact", "Log in", "Sign up", "Search", "Privacy", "Help", "Blog", "Shop", "Careers"]
    blocks = ["\n".join(rng.sample(menu, 8))]
    for title in titles:
        blocks.append(
            f"{title}\nPosted by {rng.choice(pool).author} on {rng.randrange(1, 29)} May {rng.randrange(1999, 2026)}"
        )
        blocks.append(
            f"{' '.join(rng.choice(pool).text[:120].split()[:-1])} ... Read more » {rng.randrange(50)} comments | Share | Like"
        )
    return "\n\n".join([*blocks, "\n".join(menu), "We use cookies to improve your experience. Accept all"])


KINDS: dict[str, Callable[[Pool, random.Random], str]] = {
    "OCR noise, 3 % of characters": _ocr(0.03),
    "OCR noise, 8 %": _ocr(0.08),
    "OCR noise, 20 %": _ocr(0.20),
    "words shuffled in each sentence": _shuffled_words,
    "sentences shuffled": _shuffled_sentences,
    "machine repetition": _repetition,
    "word salad, pairs": _salad(1),
    "word salad, triples": _salad(2),
    "contents": _contents,
    "index": _index,
    "list": _list,
    "advertisements": _advertisement,
    "licence": _licence,
    "code": _code,
    "web page": _web_page,
    "another language": _foreign,
}
