"""One story from draft to judged text. A pure function of the draft and the settings, so that any process may compute it."""

from __future__ import annotations

from dataclasses import dataclass

from training.corpus.clean import clean, clean_line
from training.corpus.drafts import Draft
from training.corpus.duplicates import Fingerprint, fingerprint_of
from training.corpus.profile import Profile, guess_language, language_tag
from training.corpus.quality import judge_quality
from training.corpus.rules import Verdict, judge
from training.corpus.settings import CorpusSettings
from training.corpus.unwrap import looks_wrapped, unwrap


@dataclass(frozen=True, slots=True)
class Judged:
    """A cleaned story; `verdict` says why it was dropped, and then there is no fingerprint."""

    title: str
    author: str
    anthology: str
    language: str
    text: str
    words: int
    verdict: Verdict | None
    print: Fingerprint | None


def judge_draft(draft: Draft, settings: CorpusSettings) -> Judged:
    text = clean(draft.text)
    if looks_wrapped(text):
        text = clean("\n\n".join(unwrap(text)))
    language = language_tag(clean_line(draft.language)) or guess_language(text)
    profile = Profile(text, language, draft.marked_as)
    verdict = judge(profile, settings)
    if verdict is None and settings.quality_threshold:
        quality = judge_quality(profile)
        if quality.story < settings.quality_threshold:
            because = f": {quality.because}" if quality.because else ""
            verdict = Verdict(
                "quality", f"The learned filter takes it for no story ({quality.story:.0%} likely to be one){because}."
            )
    title, author, anthology = (clean_line(said) for said in (draft.title, draft.author, draft.anthology))
    return Judged(
        title or "Untitled",
        author,
        anthology,
        language,
        text,
        profile.words,
        verdict,
        fingerprint_of(profile.plain, profile.hashes) if verdict is None else None,
    )


def judge_drafts(drafts: list[Draft], settings: CorpusSettings) -> list[Judged]:
    return [judge_draft(draft, settings) for draft in drafts]
