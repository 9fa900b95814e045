"""Retry policies of steps, blocks and shards: the number of tries and the waits between them."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.flows.errors import ErrorClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The retry policy of a step: ``delays`` in seconds before each retry, ``timeout`` in seconds for one try."""

    delays: tuple[float, ...] = ()
    timeout: float | None = None
    tags: tuple[str, ...] = ()


JITTER = 0.5
"""Delays vary by half of their length, so that many runs do not retry in the same second."""

POLICIES = {
    "plan": Policy(delays=(5, 20, 60), timeout=1800, tags=("catalog",)),
    "prepare": Policy(delays=(2, 10, 30), timeout=600, tags=("storage",)),
    # The runner retries blocks one by one; a retry of the whole step does only the blocks missing from the ledger.
    "blocks": Policy(delays=(10, 60), timeout=None, tags=("compute",)),
    "cogs": Policy(delays=(5, 30), timeout=None, tags=("storage",)),
    "publish": Policy(delays=(5, 20, 60), timeout=600, tags=("storage",)),
    # A shard is a flow run: its retry may run on another machine where it is a deployment run.
    "shard": Policy(delays=(30, 120), timeout=None, tags=("compute",)),
}
"""The policies by step name. A step that reads a source also carries the tag ``source:<name>``, to which Prefect's
concurrency limits apply."""

RETRIED = frozenset({ErrorClass.THROTTLED, ErrorClass.TRANSIENT, ErrorClass.LOST_WORKER})
"""Error classes for which a step is retried: a bad request and a fault would only fail again."""

BLOCK_TRIES = {
    ErrorClass.THROTTLED: 4,  # ... after a pause of the whole source (SOURCE_PAUSES)
    ErrorClass.TRANSIENT: 2,  # ... each with up to six tries of every read (tasks/read/retry.py)
    ErrorClass.LOST_WORKER: 2,  # ... each of which Dask has already moved to three other workers
    ErrorClass.OUT_OF_MEMORY: 5,  # ... whole, then in 2, 4, 8 and 16 parts per side
}
"""Tries of one block by error class, 1 for a class that is not listed; after them the block is set aside."""

SMALLER = frozenset({ErrorClass.OUT_OF_MEMORY, ErrorClass.LOST_WORKER})
"""Error classes after which a block is retried in smaller parts: a worker may be killed for using too much memory."""

BLOCK_DELAYS = (1.0, 5.0, 20.0)
"""Seconds before the first, second and each later retry of a block."""

SOURCE_PAUSES = (10.0, 30.0, 120.0, 300.0)
"""Seconds without new blocks after the first, second, third and each later time that a source throttles requests."""

MOST_SET_ASIDE = 20
"""Blocks set aside before a run stops: with more of them the cause is the source or the machine, not the blocks."""


MIN_BLOCKS_IN_MEMORY = 3
"""Blocks in memory that keep two cores busy: one being read, one in the model, and the next one, so that no time is
lost between blocks. More would only use memory."""


def tries_of(error_class: ErrorClass) -> int:
    """The number of tries of a block that fails with this class."""
    return BLOCK_TRIES.get(error_class, 1)


PLACES_CACHE_BYTES = 512 * 2**20
"""Largest cache of decoded file blocks for places: neighbours along the curve read the same ones."""
