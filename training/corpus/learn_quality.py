"""Train and measure the learned filter: python -m training.corpus.learn_quality CORPUS [--write]

CORPUS is a JSONL file of English stories. A fifth of the authors is held out; the tables and weights come from the others, and
all measurements from the held-out ones. Stories are used whole and in parts, with typographic and with plain punctuation (straight
quotes, two hyphens), so that punctuation is not taken for quality. Without --write, nothing is changed.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from training.common.records import Story
from training.corpus.clean import clean
from training.corpus.features import FEATURES, PUNCTUATION, Floats, Tables, class_ids, features, letter_ids, pieces_of
from training.corpus.negatives import KINDS
from training.corpus.profile import Profile
from training.corpus.quality import WEIGHTS, Filter, assess_quality, standardised
from training.corpus.rules import apply_rules
from training.corpus.settings import CorpusSettings
from training.corpus.shingles import TOKEN
from training.corpus.stories import read_stories

VOCABULARY, CLASSES, SEED, DECAY = 4000, 110, 1, 0.0005
FLOOR = 0.3
FALSE_REJECTION_COST = 4.0  # losing a story is worse than keeping another text


class Measured(NamedTuple):
    """Counts of held-out texts: all, those that the rules reject, and those that rules and filter reject together."""

    texts: int
    by_rules: int
    rejected: int


def split(stories: Sequence[Story]) -> tuple[list[Story], list[Story]]:
    """The stories of four fifths of the authors to train on, and those of one fifth to measure with."""
    authors = sorted({story.author for story in stories})
    random.Random(SEED).shuffle(authors)
    held_out = set(authors[: max(1, len(authors) // 5)])
    return [s for s in stories if s.author not in held_out], [s for s in stories if s.author in held_out]


def tables_of(stories: Sequence[Story]) -> Tables:
    """The words, letter pairs and word pairs that are common in these stories."""
    seen: Counter[str] = Counter()
    for story in stories:
        seen.update({word.lower().replace("'", "’") for word in TOKEN.findall(story.text)})
    vocabulary = {
        word: rank for rank, (word, _) in enumerate(sorted(seen.items(), key=lambda x: (-x[1], x[0]))[:VOCABULARY])
    }
    classes = {name: number for number, name in enumerate([*PUNCTUATION, *list(vocabulary)[:CLASSES]])}
    size = len(classes) + 2
    letters, beside, apart = np.full((27, 27), 0.5), np.full((size, size), 0.5), np.full((size, size), 0.5)
    for story in stories:
        ids = letter_ids(story.text)
        np.add.at(letters, (ids[:-1], ids[1:]), 1)
        kinds = class_ids(pieces_of(story.text), classes, vocabulary)
        np.add.at(beside, (kinds[:-1], kinds[1:]), 1)
        np.add.at(apart, (kinds[:-2], kinds[2:]), 1)
    letter_pairs = np.log2(letters / letters.sum(1, keepdims=True))
    # Rounded as in the file, which stores bytes.
    return Tables(vocabulary, classes, np.round(letter_pairs * 8) / 8, _association(beside), _association(apart))


def _association(counts: Floats) -> Floats:
    chance = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    return np.asarray(np.round(np.clip(np.log2(counts / chance), -7, 7) * 16) / 16, dtype=np.float64)


def _replaced(text: str, characters: dict[str, str]) -> str:
    for character, replacement in characters.items():
        text = text.replace(character, replacement)
    return text


def varied(story: Story, rng: random.Random) -> str:
    """A story as a source might contain it: whole or in part, with typographic or plain punctuation."""
    text = story.text
    if rng.random() < 0.5:
        blocks = text.split("\n\n")
        start = rng.randrange(max(1, len(blocks) - 20))
        part = "\n\n".join(blocks[start : start + rng.randrange(20, 120)])
        text = part if len(part.split()) >= 300 else text
    drawn = rng.random()
    if drawn < 0.2:
        text = _replaced(text, {"“": '"', "”": '"', "‘": "'", "’": "'", "—": "--", "…": "..."})
    elif drawn < 0.3:
        text = _replaced(text, {"“": "‘", "”": "’"})
    return clean(text)


def negatives(pool: Sequence[Story], each: int, rng: random.Random) -> dict[str, list[str]]:
    """`each` texts of every kind that is not a story, of at least 300 words as far as the kind allows."""
    return {
        name: [
            clean(max((make(pool, rng) for _ in range(2)), key=lambda text: min(len(text), 3000))) for _ in range(each)
        ]
        for name, make in KINDS.items()
    }


def learn(stories: Sequence[Story], each: int = 70) -> Filter:
    """Fit the weights: a logistic regression with weight decay, by L-BFGS."""
    rng = random.Random(SEED)
    tables = tables_of(stories)
    good = [features(Profile(varied(story, rng)), tables) for story in stories]
    bad = [features(Profile(text), tables) for texts in negatives(stories, each, rng).values() for text in texts]
    rows, labels = np.array(good + bad), np.array([1.0] * len(good) + [-1.0] * len(bad))
    mean = np.array(good).mean(0)
    # A feature that hardly varies among stories would be decisive: its scale is at least a share of the other texts' deviation.
    scale = np.maximum(np.maximum(np.array(good).std(0), FLOOR * np.array(bad).std(0)), 1e-4)
    z = np.array([standardised(row, mean, scale) for row in rows])
    cost = np.where(labels > 0, FALSE_REJECTION_COST / len(good), 1.0 / len(bad))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = labels * (z @ weights + bias)
        slope = -labels * cost / (1 + np.exp(np.clip(margin, -50, 50)))
        value = float((cost * np.logaddexp(0, -margin)).sum() + DECAY * (weights**2).sum() / 2)
        return value, np.append(z.T @ slope + DECAY * weights, slope.sum())

    best = minimize(loss, np.zeros(len(FEATURES) + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    weights = np.round(best[:-1], 4)
    return Filter(tables, np.round(mean, 6), np.round(scale, 6), weights, round(float(best[-1]), 4))


def measure(learned: Filter, held_out: Sequence[Story], each: int = 25) -> dict[str, Measured]:
    """Apply rules and filter to held-out stories ("stories", whole; "stories, varied") and to texts that are not stories."""
    rng = random.Random(SEED + 1)
    settings = CorpusSettings(sources=(Path(),), out=Path(), min_words=1, max_words=10**9)
    texts = {
        "stories": [clean(story.text) for story in held_out],
        "stories, varied": [varied(s, rng) for s in held_out],
    }
    result = {}
    for name, kind in (texts | negatives(held_out, each, rng)).items():
        by_rules = rejected = 0
        for text in kind:
            profile = Profile(text)
            by_rule = apply_rules(profile, settings) is not None
            by_rules += by_rule
            rejected += by_rule or assess_quality(profile, learned).story < settings.quality_threshold
        result[name] = Measured(len(kind), by_rules, rejected)
    return result


def save(learned: Filter, path: Path) -> None:
    """Write the filter as a .npz file."""
    tables = learned.tables
    np.savez_compressed(
        path,
        features=np.array("|".join(FEATURES)),
        vocabulary=np.array(" ".join(tables.vocabulary)),
        classes=np.array(" ".join(tables.classes)),
        letter_pairs=np.round(tables.letter_pairs * 8).astype(np.int16),
        word_pairs=np.round(tables.word_pairs * 16).astype(np.int8),
        words_apart=np.round(tables.words_apart * 16).astype(np.int8),
        mean=learned.mean,
        scale=learned.scale,
        weights=learned.weights,
        bias=np.array(learned.bias),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.corpus.learn_quality", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--write", action="store_true", help=f"replace {WEIGHTS.name} in the package")
    arguments = parser.parse_args()
    train, held_out = split(read_stories(arguments.corpus, None))
    learned = learn(train)
    print(f"Learned from {len(train)} stories; measured with {len(held_out)} by other authors.")
    weights = sorted(zip(FEATURES, learned.weights.tolist()), key=lambda item: -abs(item[1]))
    print("Weights: " + ", ".join(f"{name} {weight:+.2f}" for name, weight in weights))
    results = measure(learned, held_out)
    lost = results["stories, varied"].rejected
    for name, found in results.items():
        share = found.rejected / found.texts
        precision = found.rejected / max(1, found.rejected + lost * found.texts / results["stories"].texts)
        end = f"precision {precision:.3f}" if not name.startswith("stories") else ""
        print(
            f"{name:34} {found.texts:4} texts, rejected {share:7.2%} (by rules {found.by_rules / found.texts:7.2%}) {end}"
        )
    if arguments.write:
        save(learned, WEIGHTS)
        print(f"Written to {WEIGHTS}")


if __name__ == "__main__":
    main()
