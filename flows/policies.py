"""How often and after what wait each step, block and shard is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.flows.errors import ErrorClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a step is tried again: ``delays`` in seconds before each retry, ``timeout`` in seconds for one try."""

    delays: tuple[float, ...] = ()
    timeout: float | None = None
    tags: tuple[str, ...] = ()


JITTER = 0.5
"""Delays vary by half of themselves, so that many runs do not come back in the same second."""

POLICIES = {
    "plan": Policy(delays=(5, 20, 60), timeout=1800, tags=("catalog",)),
    "prepare": Policy(delays=(2, 10, 30), timeout=600, tags=("storage",)),
    # Blocks are retried one by one below; the ledger makes a retry of the whole step do only what is missing.
    "blocks": Policy(delays=(10, 60), timeout=None, tags=("compute",)),
    "cogs": Policy(delays=(5, 30), timeout=None, tags=("storage",)),
    "publish": Policy(delays=(5, 20, 60), timeout=600, tags=("storage",)),
    # Sub-flows: a shard's own tries, on another machine where it is a deployment run.
    "shard": Policy(delays=(30, 120), timeout=None, tags=("compute",)),
}
"""A step that reads a source carries the tag ``source:<name>`` too: the handle for Prefect's concurrency limits."""

RETRIED = frozenset({ErrorClass.THROTTLED, ErrorClass.TRANSIENT, ErrorClass.LOST_WORKER})
"""Steps are tried again for these alone: the same bad request gets the same answer, and a fault stays one."""

BLOCK_TRIES = {
    ErrorClass.THROTTLED: 4,  # ... after the whole source has been left alone for a while (SOURCE_PAUSES)
    ErrorClass.TRANSIENT: 2,  # ... each read in it has been tried six times (tasks/read/retry.py)
    ErrorClass.LOST_WORKER: 2,  # ... each of which Dask has moved to three other workers by itself
    ErrorClass.OUT_OF_MEMORY: 5,  # ... whole, then in 2, 4, 8 and 16 parts per side
}
"""Tries of one block by what failed, 1 where a class is not named; what fails for good is set aside by name."""

SMALLER = frozenset({ErrorClass.OUT_OF_MEMORY, ErrorClass.LOST_WORKER})
"""A block is tried again in smaller parts for these: a worker that is killed may have taken too much memory."""

BLOCK_DELAYS = (1.0, 5.0, 20.0)

SOURCE_PAUSES = (10.0, 30.0, 120.0, 300.0)
"""Seconds in which no block is begun after a source said it is asked too much; each time longer."""

MOST_SET_ASIDE = 20
"""Blocks set aside before a run stops: more is the source or the machine, not the blocks."""


def tries_of(error_class: ErrorClass) -> int:
    """How often a block is tried where this is what fails."""
    return BLOCK_TRIES.get(error_class, 1)
