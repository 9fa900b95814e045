"""The options of a run and the placement of its blocks, checked before anything is planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from tilewright.flows.errors import RunnerError
from tilewright.flows.machine import n_cores

SendShard = Callable[[dict[str, Any]], object]
"""Runs one shard to its end, from the parameters of the flow ``shard``; raises what the flow raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The placement of blocks. ``runner``: ``threads``, ``dask`` (a cluster on this machine) or a scheduler's address.

    With ``shards`` above 1 the blocks are done by that many flow runs, each with a runner of this kind: sub-flows of
    this process, or runs of ``deployment`` (``flow/name``) on machines of their own. ``free``: bytes of memory that the
    threads may use, None for those free when they start.
    """

    runner: str = "threads"
    workers: int | None = None
    shards: int = 1
    deployment: str | None = None
    free: int | None = None

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise RunnerError(f"shards is {self.shards}; expected 1 or more")
        if self.runner not in {"threads", "dask"} and "://" not in self.runner:
            raise RunnerError(f"runner {self.runner!r} is unknown: give threads, dask or tcp://host:8786")
        if self.runner != "threads" and find_spec("distributed") is None:
            raise RunnerError(
                "runner: a Dask cluster needs distributed: pip install -c constraints.txt -e '.[flows]' in "
                "Tilewright's folder."
            )

    @property
    def here(self) -> bool:
        """True for the threads of this process, in which all blocks are done."""
        return self.runner == "threads" and self.shards == 1

    @property
    def n_workers(self) -> int:
        """Cores to use on this machine."""
        return self.workers or n_cores()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a run; none of them changes a pixel. ``startup_seconds``: the age of a process that was
    started for this run alone, which its time includes.

    ``placement`` is made from ``runner``, ``workers``, ``shards`` and ``deployment``. ``retry`` limits the run to the
    blocks set aside with that class of failure. ``wait``: seconds for which the end of another run that writes the same
    output is awaited, infinite for as long as it takes.
    """

    runner: str = "threads"
    workers: int | None = None
    update: bool = False
    replace: bool = False
    startup_seconds: float = 0.0
    shards: int = 1
    deployment: str | None = None
    retry: str | None = None
    wait: float = 0.0
    placement: Placement = field(init=False)

    def __post_init__(self) -> None:
        if not self.wait >= 0:
            raise RunnerError(f"wait is {self.wait}; expected 0 seconds or more")
        placement = Placement(runner=self.runner, workers=self.workers, shards=self.shards, deployment=self.deployment)
        object.__setattr__(self, "placement", placement)
