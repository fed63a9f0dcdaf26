"""Named places where a test can make this process die as if by ``kill -9``.

``CXR_FAILPOINT=name`` kills at the first visit of that place, ``CXR_FAILPOINT=name:3`` at the third. Unset, as always
outside the tests, a failpoint does nothing.
"""

from __future__ import annotations

import itertools
import os
import signal

NAMES = frozenset(
    {
        "after_file_before_row",
        "after_row_before_reply",
        "after_claim",
        "after_inference",
        "after_result_files",
        "after_store_before_row",
        "after_deleted_rows_before_files",
        "after_copies_before_manifest",
        "after_manifest_before_removals",
    }
)
_visits = itertools.count(1)


def failpoint(name: str) -> None:
    """Die here without any clean-up, if the environment asks for it.

    Raises
    ------
    ValueError
        ``name`` is not one of ``NAMES``.
    """
    if name not in NAMES:
        raise ValueError(f"failpoint {name} is not known; add it to worker/foundation/failpoints.py")
    wanted, _, visit = os.environ.get("CXR_FAILPOINT", "").partition(":")
    if wanted == name and next(_visits) >= int(visit or 1):
        os.kill(os.getpid(), signal.SIGKILL)
