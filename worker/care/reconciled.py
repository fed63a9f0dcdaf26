"""What one question to the archive found and fetched: of which time, what was missing, and what is missing still."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from datetime import datetime

from dicom_io.services.retrieve import Wanted


@dataclass(frozen=True)
class Window:
    """The time in which studies began that are looked for; both ends aware."""

    since: datetime
    until: datetime


@dataclass(frozen=True)
class Failure:
    """One object that the archive has and we still have not."""

    study_instance_uid: str
    sop_instance_uid: str
    reason: str


@dataclass(frozen=True)
class Elsewhere:
    """One object that the archive has in another study than we do: moved, or filed there under a UID of its own.

    It is not fetched: it would put the patient of both studies in doubt, and hold them.
    """

    study_instance_uid: str
    """In the archive."""
    sop_instance_uid: str
    here_under: str
    """Study Instance UID."""


@dataclass
class Reconciliation:
    """What was found and done."""

    since: datetime
    until: datetime
    archive: str
    studies: int = 0
    """Which the archive has of this time."""
    objects: int = 0
    missing: list[Wanted] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    elsewhere: list[Elsewhere] = field(default_factory=list)
    """What is here under another study; it does not count as missing."""
    unanswered: int = 0
    """Studies of which the archive did not say to the end, in time, what it has; they are passed over."""
    problem: str = ""
    """Why the archive could not be asked to the end; empty when it was."""
    fetched: int = 0
    deleted_too: bool = False
    """Whether what retention deleted here, or the disk lost, counts as missing."""

    @property
    def complete(self) -> bool:
        """Say whether everything the archive has of this time is here now."""
        return not self.problem and not self.unanswered and self.fetched == len(self.missing)

    @property
    def summary(self) -> str:
        """What happened, in one sentence."""
        looked = (
            f"{self.archive} has {self.objects} objects in {self.studies} studies; {len(self.missing)} were missing"
        )
        if self.problem:
            return f"{looked} until {self.problem}"
        if self.missing:
            looked = f"{looked}, {self.fetched} of them were fetched"
        if self.unanswered:
            looked = f"{looked}; {self.unanswered} studies were passed over, for it did not come to an end about them"
        if not self.elsewhere:
            return looked
        are = "object is" if len(self.elsewhere) == 1 else "objects are"
        return f"{looked}; {len(self.elsewhere)} {are} here under another study than in {self.archive}"


def details(found: Reconciliation) -> dict[str, object]:
    """Return what the audit trail keeps of it."""
    return {
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "archive": found.archive,
        "studies": found.studies,
        "objects": found.objects,
        "missing": len(found.missing),
        "fetched": found.fetched,
        "unanswered": found.unanswered,
        "complete": found.complete,
        "elsewhere": [list(astuple(item)) for item in found.elsewhere[:100]],
        "failures": [[item.study_instance_uid, item.sop_instance_uid, item.reason] for item in found.failures[:100]],
    }
