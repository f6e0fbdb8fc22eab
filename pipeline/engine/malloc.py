"""Sets glibc's malloc so that freed large blocks return to the operating system."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
"""malloc.h of glibc."""
BLOCK_BYTES = 256 * 1024
"""Smaller than a block of a RocksDB write buffer (512 KiB) and than most fetch responses."""


def return_large_blocks() -> bool:
    """Fix the size from which each block has a mapping of its own. Return False if malloc is not glibc's.

    By default glibc raises that size, up to 32 MiB, as blocks are freed; write buffers and fetch responses then stay in its
    arenas for the life of the process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_MMAP_THRESHOLD, BLOCK_BYTES) == 1
