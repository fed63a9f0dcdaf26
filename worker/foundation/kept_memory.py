"""Has a process keep the memory that it has used for a picture, for the next one.

glibc gives large blocks back to the kernel as soon as they are free. The next picture then gets every page of them
anew, cleared and mapped: measured on a virtual machine, that is most of reading an uncompressed radiograph and half of
drawing on it.
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 128 << 20
"""A process holds at most that much for later, behind what it uses: pictures of 3000 x 3000 need 80 MB."""
LARGEST_KEPT_BLOCK_BYTES = 64 << 20
"""Larger blocks, which belong to rare pictures, are given back at once."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Keep freed memory from now on; False where the C library is another than glibc, which then does as before."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = ((_M_TRIM_THRESHOLD, KEPT_BYTES), (_M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK_BYTES))
    return all(mallopt(name, size_bytes) == 1 for name, size_bytes in kept)
