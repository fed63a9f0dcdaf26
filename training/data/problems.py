"""Everything that can be wrong with a data set, each with what to do about it, gathered so that one look shows all."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from io import StringIO
from pathlib import Path

from training.data.cache_index import write_whole
from training.data.radiographs import LayoutError


class Severity(StrEnum):
    """What a problem means for a run."""

    ERROR = "error"
    """Training would be impossible or its figures wrong: the run stops."""
    WARNING = "warning"
    """The run goes on; a person should look."""
    NOTE = "note"
    """Known and dealt with."""


_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


class ProblemKind(Enum):
    """Title, severity and remedy of each kind of problem."""

    UNUSABLE_TABLE = ("unusable table", _ERROR, "take the file from the download again")
    BROKEN_ROW = ("row cannot be read", _ERROR, "repair the row, or take the file from the download again")
    CONTRADICTING_ROWS = ("two rows for one picture", _ERROR, "decide which row is right and remove the other")
    REPEATED_ROW = ("row given twice", _WARNING, "nothing: the repetition is ignored")
    UNKNOWN_LABEL = ("unknown finding", _ERROR, "correct the spelling; findings are those of `model.labels`")
    UNLISTED_ROW = ("row in neither list", _NOTE, "nothing: it is not used")
    LISTED_WITHOUT_ROW = ("listed picture without row", _ERROR, "take table and lists from the same release")
    LISTED_TWICE = ("picture listed twice", _ERROR, "remove the repetition from the list")
    PATIENT_OVERLAP = ("patient in both parts", _ERROR, "cut the lists by patient; test figures would be too good")
    EMPTY_PART = ("part without pictures", _ERROR, "give each part pictures of patients of its own")
    NO_POSITIVES = (
        "finding without a positive",
        _WARNING,
        "nothing: its AUROC is undefined there and left out of means",
    )
    NO_NEGATIVES = (
        "finding without a negative",
        _WARNING,
        "nothing: its AUROC is undefined there and left out of means",
    )
    MISSING_PICTURE = ("picture without file", _ERROR, "unpack every archive, or go on without: --allow-missing")
    UNREADABLE_PICTURE = ("picture cannot be read", _ERROR, "fetch the file again, or go on without: --allow-missing")
    UNLISTED_PICTURE = ("file without row", _NOTE, "nothing: it is not used")
    SEVERAL_FILES = ("several files for one picture", _WARNING, "remove all but one; the first named here is used")
    ODD_SIZE = (
        "picture of another size",
        _WARNING,
        "look whether it is the right file; it is squashed like the others",
    )
    COLOURED = ("picture in colour", _WARNING, "look whether it is a radiograph; its luminance is used")
    EXTRA_CHANNELS = ("grey picture stored as RGB or RGBA", _NOTE, "nothing: its grey levels are used")
    BLANK = ("picture of a single grey level", _WARNING, "look at it; it teaches nothing")
    NOT_FRONTAL_CHEST = ("no frontal chest by its tags", _WARNING, "look whether it belongs here")
    NO_PATIENT = ("row without a patient", _WARNING, "nothing: it is not used, since parts are cut by patient")
    UNDECIDED = ("row nobody has decided", _NOTE, "nothing: it is not used until `confirmed_by` is filled in")
    BAD_BOX = ("box that does not fit", _WARNING, "compare with the list of the download; it is used as it stands")
    UNKNOWN_BOX = ("box of an unknown picture", _WARNING, "compare with the list of the download; it is not used")
    ODD_VALUE = ("unusual age, sex or view", _NOTE, "nothing: training does not use it; the audit leaves it out")

    def __init__(self, title: str, severity: Severity, remedy: str) -> None:
        self.title = title
        self.severity = severity
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    kind: ProblemKind
    where: str
    """Picture, patient, or file and line."""
    detail: str = ""
    """What is wrong there, in words."""

    def __str__(self) -> str:
        """Return where and what in one line."""
        return f"{self.where}: {self.detail or self.kind.title}"


LEFT_OUT = frozenset({ProblemKind.MISSING_PICTURE, ProblemKind.UNREADABLE_PICTURE})
"""What ``--allow-missing`` tolerates."""


class ProblemLog:
    """Problems in the order in which they were found.

    Parameters
    ----------
    tolerated
        Kinds that are no error here, by a person's choice.
    """

    def __init__(self, tolerated: frozenset[ProblemKind] = frozenset()) -> None:
        self.problems: list[Problem] = []
        self.tolerated = tolerated

    def add(self, kind: ProblemKind, where: str, detail: str = "") -> None:
        """Note one problem."""
        self.problems.append(Problem(kind, where, detail))

    def errors(self) -> list[Problem]:
        """Return those that stop a run."""
        return [problem for problem in self.problems if self.severity(problem.kind) is Severity.ERROR]

    def severity(self, kind: ProblemKind) -> Severity:
        """Return what a kind of problem means here."""
        return Severity.WARNING if kind in self.tolerated else kind.severity

    def refuse_errors(self, root: Path) -> None:
        """Stop where there are errors.

        Raises
        ------
        LayoutError
            Names the first and counts the others.
        """
        errors = self.errors()
        if errors:
            more = f"; {len(errors) - 1} more: `python -m training prepare --check-only` lists them"
            remedy = errors[0].kind.remedy
            raise LayoutError(f"{root}: {errors[0]} ({remedy}){more if len(errors) > 1 else ''}")

    def by_kind(self) -> Iterator[tuple[ProblemKind, list[Problem]]]:
        """Yield the problems of each kind there is, the gravest kinds first."""
        for severity in Severity:
            for kind in ProblemKind:
                found = [problem for problem in self.problems if problem.kind is kind]
                if self.severity(kind) is severity and found:
                    yield kind, found


def write_problems(log: ProblemLog, path: Path) -> None:
    """Write every problem as CSV, whole or not at all: severity, problem, where, detail, remedy."""
    stream = StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["severity", "problem", "where", "detail", "remedy"])
    for problem in log.problems:
        kind = problem.kind
        writer.writerow([log.severity(kind), kind.title, problem.where, problem.detail, kind.remedy])
    write_whole(stream.getvalue().encode(), path)
