"""How this process keeps its memory: what the C library gives back, and when cyclic garbage is looked for."""

from __future__ import annotations

import ctypes
import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Source: glibc, malloc.h, parameters of mallopt(3)."""


def return_freed_memory() -> None:
    """Have glibc give large freed arrays back to the system, and keep the smaller ones for the next window; nothing
    where the C library is another one.

    By itself it keeps all below 32 MB, a heap per thread, in pieces. Returning all above 1 MB instead cost a tenth of a
    run in page faults; between the two lies a twentieth less memory at no cost (4096 x 4096 x 4 bands x 3 dates).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter, value in ((M_MMAP_THRESHOLD, 2**22), (M_TRIM_THRESHOLD, 2**27), (M_ARENA_MAX, 2)):
        mallopt(parameter, value)


@contextmanager
def without_collecting() -> Iterator[None]:
    """No search for cyclic garbage meanwhile: libraries being loaded make objects by the hundred thousand, all of them
    to stay, and walking these over and over takes a tenth of a start. For a second or two; others may wish it too.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
