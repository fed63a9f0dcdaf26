"""What a site knows of its own senders and the standard does not: rules over tags, written in the configuration.

A rule is one condition with a name and a meaning. A condition tests one attribute, or joins others::

    [[site_rules]]
    name = "thorax protocols of room 2"
    means = "frontal_chest"
    sources = ["ROOM2"]
    all = [
      { keyword = "Manufacturer", contains = "example" },
      { any = [{ keyword = "ProtocolName", equals = "THX PA" }, { keyword = "ProtocolName", matches = "^W.* THX" }] },
    ]
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydicom.datadict import keyword_dict, tag_for_keyword
from pydicom.dataset import Dataset

from dicom_io.data_sets.header import LAST_HEADER_TAG, LATER_GROUPS
from dicom_io.data_sets.tag_text import normalised, words

TESTS = ("equals", "contains", "matches", "present")
JOINTS = ("all", "any", "none")
_FIRST_GROUP = 0x0008


class Meaning(StrEnum):
    """What a rule says of the images it fits. It outranks the tags; the picture is looked at all the same."""

    FRONTAL_CHEST = "frontal_chest"
    CHEST = "chest"
    NOT_CHEST = "not_chest"
    FRONTAL = "frontal"
    NOT_FRONTAL = "not_frontal"
    STANDARD_COPY = "standard_copy"
    """Processed as usual, whatever its description says."""
    PROCESSED_COPY = "processed_copy"
    """Specially processed (bone, soft tissue, edges ...) beside a standard copy of the same exposure."""
    IGNORE = "ignore"
    """Kept and never looked at."""


class Condition(BaseModel):
    """One attribute tested, or other conditions joined; texts are compared without case, accents and ``_ - .``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keyword: str | None = None
    """DICOM keyword of the attribute. Of several values any may fit; of a code sequence any code or meaning."""
    equals: str | None = None
    contains: str | None = None
    matches: str | None = None
    """Regular expression (Python's) found anywhere in the upper-case text; ``^...$`` holds it to the whole."""
    present: bool | None = None
    """True: it has a value; false: it is absent or empty."""
    all: tuple[Condition, ...] | None = None
    any: tuple[Condition, ...] | None = None
    none: tuple[Condition, ...] | None = None

    @field_validator("keyword")
    @classmethod
    def _keyword_is_seen(cls, keyword: str | None) -> str | None:
        tag = tag_for_keyword(keyword) if keyword else None
        if keyword is None:
            return None
        if tag is None:
            near = get_close_matches(keyword, keyword_dict, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; see PS3.6 for the keywords"
            raise ValueError(f"{keyword!r} is no DICOM keyword{hint}")
        if not (tag >> 16 >= _FIRST_GROUP and tag <= LAST_HEADER_TAG) and tag >> 16 not in LATER_GROUPS:
            raise ValueError(
                f"{keyword} is not read when an image arrives; attributes of groups 0008 to 0040, 0054 and 2050 are"
            )
        return keyword

    @field_validator("matches")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern

    @field_validator("equals", "contains", "matches")
    @classmethod
    def _something_is_asked(cls, value: str | None) -> str | None:
        if value is not None and not normalised(value):
            raise ValueError("is empty; to ask whether there is a value at all, write present = true or false")
        return value

    @model_validator(mode="after")
    def _one_question(self) -> Condition:
        tests = [name for name in TESTS if getattr(self, name) is not None]
        joints = [name for name in JOINTS if getattr(self, name) is not None]
        if self.keyword is not None and len(tests) == 1 and not joints:
            return self
        if self.keyword is None and not tests and len(joints) == 1 and getattr(self, joints[0]):
            return self
        given = [*(["keyword"] if self.keyword is not None else []), *tests, *joints]
        raise ValueError(
            f"a condition has a keyword and one of {', '.join(TESTS)}; or, under one of {', '.join(JOINTS)}, a list of"
            f" conditions; this one has {', '.join(given) or 'nothing'}"
        )

    def fits(self, header: Dataset) -> bool:
        """Say whether it holds for this header; never raises, whatever stands in it."""
        if self.all is not None:
            return builtins.all(each.fits(header) for each in self.all)
        if self.any is not None:
            return builtins.any(each.fits(header) for each in self.any)
        if self.none is not None:
            return not builtins.any(each.fits(header) for each in self.none)
        found = words(header, self.keyword or "")
        if self.present is not None:
            return bool(found) is self.present
        return builtins.any(self._holds(each) for each in found)

    def _holds(self, value: str) -> bool:
        if self.equals is not None:
            return value == normalised(self.equals)
        if self.contains is not None:
            return normalised(self.contains) in value
        return re.search(self.matches or "", value, re.IGNORECASE) is not None


class SiteRule(Condition):
    """A condition with a name, what it means, and whose images it is about."""

    name: str = Field(min_length=1, max_length=64)
    """Stands in rows, in ``show`` and in ``explain`` wherever the rule decided."""
    means: Meaning
    sources: tuple[str, ...] = ()
    """Calling AE titles it is about; empty = every sender."""


def fitting(rules: Iterable[SiteRule], header: Dataset) -> list[SiteRule]:
    """Return the rules that fit this header, in their order."""
    return [rule for rule in rules if rule.fits(header)]
