"""The process's memory: what is freed in large blocks goes back to the system."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
"""malloc.h of glibc."""
BLOCK_BYTES = 256 * 1024
"""Smaller than a block of a RocksDB write buffer (512 KiB) and than most fetches."""


def return_large_blocks() -> bool:
    """Fix the size from which blocks are mapped one by one; False where malloc does not know it (it is glibc's).

    glibc raises that size as blocks are freed, up to 32 MiB; write buffers and fetches then stay in its arenas for good.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_MMAP_THRESHOLD, BLOCK_BYTES) == 1
