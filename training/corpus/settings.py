"""Settings of the import of a corpus. The limits are vetted on 1,641 stories: none of them is dropped by a rule."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from training.config.declarations import Command
from training.config.settings import Settings


class CorpusSettings(Settings):
    """`python -m training corpus FILE`: anthologies to clean stories. Paths are relative to the working directory."""

    sources: tuple[Path, ...] = Field(min_length=1, description="files, or folders that are searched for them")
    out: Path

    min_words: int = Field(300, ge=1)
    max_words: int = Field(60_000, ge=1)
    quality_threshold: float = Field(
        0.4, ge=0, le=1, description="a text is dropped below this probability of being a story; 0 turns the filter off"
    )
    duplicate_threshold: float = Field(
        0.4, gt=0, le=1, description="Jaccard similarity of three-word shingles (in Chinese of six characters)"
    )

    held_out_share: float = Field(0.05, ge=0, lt=1, description="share of the stories, reached by whole authors")
    held_out_authors: tuple[str, ...] = Field((), description="held out whatever the share; none are drawn beside them")
    seed: int = 1
    workers: int = Field(2, ge=1, le=64, description="processes; the result is the same with any number")

    @model_validator(mode="after")
    def limits_fit(self) -> CorpusSettings:
        if self.max_words < self.min_words:
            raise ValueError(f"max_words ({self.max_words}) is less than min_words ({self.min_words})")
        return self


CORPUS = Command(
    name="corpus",
    about="Turns books and files into clean, deduplicated stories.",
    settings=CorpusSettings,
    run="training.corpus.build:build_corpus",
)
