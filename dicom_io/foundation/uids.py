"""DICOM unique identifiers: which are valid, and how ours are made (PS3.5 chapter 9 and annex B)."""

from __future__ import annotations

import hashlib
import re

MAXIMUM_UID_CHARACTERS = 64
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_valid_uid(text: object) -> bool:
    """Say whether `text` can be a UID: components of digits joined by dots, at most 64 characters (PS3.5 9.1).

    Leading zeros in a component, which PS3.5 forbids and some modalities send, pass: a study must not be lost over
    them. Anything that passes is also safe as the name of a folder; ``../`` and the like never pass.
    """
    return isinstance(text, str) and len(text) <= MAXIMUM_UID_CHARACTERS and _UID.fullmatch(text) is not None


def deterministic_uid(*parts: str) -> str:
    """Return the UID that belongs to these parts, always the same one for the same parts in the same order.

    The form is ``2.25.`` and a 128-bit number (PS3.5 B.2), here the head of a SHA-256 instead of a UUID, so that a
    retried result is the same object and another set of images or another model is another one.

    Parameters
    ----------
    parts
        At least one text. Each is hashed with its length, so ``("a", "bc")`` and ``("ab", "c")`` differ.

    Raises
    ------
    ValueError
        No parts were given: all such UIDs would be equal.
    """
    if not parts:
        raise ValueError("deterministic_uid needs at least one part; name what the UID stands for")
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"
