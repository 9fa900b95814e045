"""Several things done at a time on threads: reads wait for a network, and GDAL and numpy leave the interpreter free."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


Given = TypeVar("Given")
Made = TypeVar("Made")


def done_at_once(do: Callable[[Given], Made], given: Sequence[Given], *, threads: int) -> Iterator[Made]:
    """The results of ``do``, in order. On one thread each is made when it is asked for; on several all of them are.

    Raises what ``do`` raises, when no thread is at work any more.
    """
    n_threads = min(threads, len(given))
    if n_threads <= 1:
        yield from map(do, given)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        yield from list(pool.map(do, given))
