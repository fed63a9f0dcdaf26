"""Is the pynetdicom at hand the one whose private parts our faster ways of receiving and sending lean on?"""

from __future__ import annotations

import hashlib
import inspect

from dicom_io.associations import store_request, store_serving, streaming, waking

_KNOWN_SOURCE = "df22e50b3879ce2a889da419011e3ee78b6f842d6bf91ab96cbab36e783029c3"


def private_parts_changed() -> bool:
    """Say whether anything private that we use is no longer what it was written for."""
    return source_digest() != _KNOWN_SOURCE


def source_digest() -> str:
    """Return a hash over the source of everything private that is used here; empty where there is no source."""
    parts = (
        *waking.PRIVATE_PARTS,
        *store_request.PRIVATE_PARTS,
        *store_serving.PRIVATE_PARTS,
        *streaming.PRIVATE_PARTS,
    )
    try:
        return hashlib.sha256("".join(inspect.getsource(part) for part in parts).encode()).hexdigest()
    except (OSError, TypeError):
        return ""
