"""The access to scenes: one value from the worker down to the reader."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tilewright.tasks.read.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tilewright.catalogs.scene import Scene
    from tilewright.tasks.read.counters import ReadStats
    from tilewright.tasks.read.failures import FailureLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The settings for opening files: GDAL settings in addition to the project's defaults, and the retry policy."""

    gdal: Mapping[str, str] = field(default_factory=dict, repr=False)
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The way to read scenes: hrefs are signed at read time, failed reads are recorded, decoded pixels are counted.

    ``sign(scene, href)`` returns the href as it can be opened now; None where no href needs a signature.
    ``failures`` None: the first read that fails for good raises. ``stats`` None: nothing is counted.
    ``threads``: reads at a time. ``block`` is the block's name in failures, empty outside a job.
    """

    sign: Callable[[Scene, str], str] | None = None
    failures: FailureLog | None = None
    reading: Reading = field(default_factory=Reading)
    stats: ReadStats | None = None
    threads: int = 1
    block: str = ""

    def for_block(self, name: str, stats: ReadStats) -> Access:
        """The same access for one block, whose reads are counted in ``stats``."""
        return replace(self, block=name, stats=stats)
