"""The tables of the editors' room.

constitution   principles and their versions
sharing        the consents of writers, and their history
reading        briefs, takes (texts as they were judged), pairs, and readings of pairs
judgement      votes, marks, rubric sheets, settlements; and acts, by which they are stored once and can be undone
violations     the smallest changes that make a text break a principle, and their judgements
snapshots      datasets that never change
"""

from writer.editorial.models.constitution import Domain, Principle, PrincipleState, PrincipleVersion
from writer.editorial.models.judgement import (
    AXES,
    Act,
    Mark,
    RubricSheet,
    Settlement,
    Severity,
    Vote,
    VoteReason,
    VoteSource,
    Why,
)
from writer.editorial.models.reading import (
    Asking,
    Brief,
    Pair,
    PairSource,
    Reading,
    ReadingState,
    Sitting,
    SkipReason,
    Take,
)
from writer.editorial.models.sharing import Consent, ConsentEvent, Sharing
from writer.editorial.models.snapshots import Making, Snapshot, SnapshotKind, SnapshotRow
from writer.editorial.models.violations import Rejection, Violation, ViolationState

__all__ = [
    "AXES",
    "Act",
    "Asking",
    "Brief",
    "Consent",
    "ConsentEvent",
    "Domain",
    "Making",
    "Mark",
    "Pair",
    "PairSource",
    "Principle",
    "PrincipleState",
    "PrincipleVersion",
    "Reading",
    "ReadingState",
    "Rejection",
    "RubricSheet",
    "Settlement",
    "Severity",
    "Sharing",
    "Sitting",
    "SkipReason",
    "Snapshot",
    "SnapshotKind",
    "SnapshotRow",
    "Take",
    "Violation",
    "ViolationState",
    "Vote",
    "VoteReason",
    "VoteSource",
    "Why",
]
