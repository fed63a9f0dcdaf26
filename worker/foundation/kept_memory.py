"""Has a process keep the memory that it has used for a picture, for the next one, and in huge pages.

glibc gives large blocks back to the kernel as soon as they are free. The next picture then gets every page of them
anew, cleared and mapped: measured on a virtual machine, that is most of reading an uncompressed radiograph and half of
drawing on it. And a picture and the network's weights are thousands of pages of 4 kB, which a processor looks up anew
all the time, twice in a virtual machine; in pages of 2 MB an analysis takes a tenth to a sixth less.
"""

from __future__ import annotations

import ctypes
import mmap

KEPT_BYTES = 192 << 20
"""A process holds at most that much for later, behind what it uses: pictures of 3000 x 3000 need 80 MB."""
LARGEST_KEPT_BLOCK_BYTES = 64 << 20
"""Larger blocks, which belong to rare pictures, are given back at once."""
HUGE_BYTES = 180 << 20
"""So much of the heap is asked for in huge pages; less than what is kept, or it would be given back."""
HUGE_PAGE_BYTES = 2 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
_USUAL_MMAP_MAX = 65_536


def keep_freed_memory() -> bool:
    """Keep freed memory from now on; False where the C library is another than glibc, which then does as before."""
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = ((_M_TRIM_THRESHOLD, KEPT_BYTES), (_M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK_BYTES))
    if not all(mallopt(name, size_bytes) == 1 for name, size_bytes in kept):
        return False
    mallopt(_M_MMAP_MAX, 0)  # the block that follows must come from the heap
    _grow_into_huge_pages(libc)
    mallopt(_M_MMAP_MAX, _USUAL_MMAP_MAX)
    return True


def _grow_into_huge_pages(libc: ctypes.CDLL) -> None:
    """Grow the heap of this thread once and mark it; until something uses it, that takes no memory.

    glibc would mark it by itself under ``GLIBC_TUNABLES``, but reads those before a process begins. A kernel that gives
    huge pages to nobody leaves all as it was.
    """
    libc.malloc.argtypes, libc.malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
    libc.free.argtypes, libc.free.restype = (ctypes.c_void_p,), None
    libc.madvise.argtypes, libc.madvise.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int), ctypes.c_int
    block = libc.malloc(HUGE_BYTES)
    if block is None:
        return
    start, end = (
        -(-block // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES,
        (block + HUGE_BYTES) // HUGE_PAGE_BYTES * HUGE_PAGE_BYTES,
    )
    libc.madvise(start, end - start, mmap.MADV_HUGEPAGE)
    libc.free(block)
