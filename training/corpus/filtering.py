"""Cleans and filters one story. A pure function of the draft and the settings, so that any process can run it."""

from __future__ import annotations

from dataclasses import dataclass

from training.corpus.clean import clean, clean_line
from training.corpus.drafts import Draft
from training.corpus.duplicates import Fingerprint, fingerprint_of
from training.corpus.profile import Profile, guess_language, language_tag
from training.corpus.quality import assess_quality
from training.corpus.rules import Rejection, apply_rules
from training.corpus.settings import CorpusSettings
from training.corpus.unwrap import looks_wrapped, unwrap


@dataclass(frozen=True, slots=True)
class FilteredStory:
    """A cleaned story. If it is rejected, `rejection` says why, and there is no fingerprint."""

    title: str
    author: str
    anthology: str
    language: str
    text: str
    words: int
    rejection: Rejection | None
    print: Fingerprint | None


def filter_draft(draft: Draft, settings: CorpusSettings) -> FilteredStory:
    """Clean a draft, and apply the rules and the learned filter."""
    text = clean(draft.text)
    if looks_wrapped(text):
        text = clean("\n\n".join(unwrap(text)))
    language = language_tag(clean_line(draft.language)) or guess_language(text)
    profile = Profile(text, language, draft.marked_as)
    rejection = apply_rules(profile, settings)
    if rejection is None and settings.quality_threshold:
        quality = assess_quality(profile)
        if quality.story < settings.quality_threshold:
            because = f": {quality.because}" if quality.because else ""
            reason = f"The learned filter gives it a probability of {quality.story:.0%} of being a story{because}."
            rejection = Rejection("quality", reason)
    title, author, anthology = (clean_line(name) for name in (draft.title, draft.author, draft.anthology))
    return FilteredStory(
        title or "Untitled",
        author,
        anthology,
        language,
        text,
        profile.words,
        rejection,
        fingerprint_of(profile.plain, profile.hashes) if rejection is None else None,
    )


def filter_drafts(drafts: list[Draft], settings: CorpusSettings) -> list[FilteredStory]:
    return [filter_draft(draft, settings) for draft in drafts]
