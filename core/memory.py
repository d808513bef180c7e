"""Memory of a process that makes and drops large arrays all the time."""

from __future__ import annotations

import ctypes
import functools
import sys


@functools.cache
def keep_memory() -> bool:
    """Have glibc keep freed memory for the next arrays of this process; says whether it does. Elsewhere nothing happens.

    It would give all above 32 MB back at once and have the kernel clear it again: a quarter of the simulator's time, a third
    of a training step's. Names and numbers are those of malloc.h.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return False
    mmap_max, trim_threshold = -4, -1
    return bool(libc.mallopt(mmap_max, 0) and libc.mallopt(trim_threshold, -1))
