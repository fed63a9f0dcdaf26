"""Is the pynetdicom at hand the one whose private parts our faster ways of receiving and sending lean on?"""

from __future__ import annotations

import hashlib
import inspect

from dicom_io import store_request, store_serving, streaming, waking

_KNOWN_SOURCE = "d3e7a668d7dd11e724c4ccca5f80391d19b4db0dfbb29105d7ff8d85b43c76d7"


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
