"""Memory that the C library keeps after it was freed.

A server's threads each fill heaps of their own with pictures and plans. What is freed there stays with the
process, by tens of megabytes after a crowd of sessions, unless it is asked for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back_memory() -> bool:
    """Give freed memory back to the system; returns whether the C library can (glibc's malloc_trim)."""
    trim = _malloc_trim()
    if trim is None:
        return False
    trim(0)
    return True


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # musl, macOS
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim
