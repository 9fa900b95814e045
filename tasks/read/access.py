"""The access to scenes: one value from the worker down to the reader."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from tilewright.tasks.identity.web import NoIdentityError
from tilewright.tasks.read.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from odc.geo.geobox import GeoBox

    from tilewright.catalogs.network.connect import HostRules
    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.tasks.identity.register import Identify, Register
    from tilewright.tasks.read.counters import ReadStats
    from tilewright.tasks.read.failures import FailureLog
    from tilewright.tasks.read.resample.pixels import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The settings for opening files: GDAL settings in addition to the project's defaults, and the retry policy.

    `rules` say where requests may go, redirects too; None: anywhere, or where the user's own proxy lets them.
    ``identify`` takes the identity that a file has now (tasks/identity); None: files are not held to theirs.
    """

    gdal: Mapping[str, str] = field(default_factory=dict, repr=False)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    rules: HostRules | None = None
    identify: Identify | None = None

    def is_changed(self, asset: BandAsset, signed: str) -> bool:
        """True if the file of an asset with an identity is another one by now, seen twice; False if nobody tells."""
        if self.identify is None or asset.holding is None:
            return False
        for _ in range(2):
            try:
                present = self.identify(asset.href, signed)
            except NoIdentityError:
                return False
            if present in {None, asset.holding}:
                return False
        return True


class ModelMasks(Protocol):
    """The classes that a model gives to the pixels of scenes."""

    def classes(self, scene: Scene, geobox: GeoBox, access: Access) -> Pixels | None:
        """Those on a geobox, (y, x) uint8; None for a scene with a read whose failure is tolerated."""

    def counts(self, plan: Any, block: Any, access: Access) -> dict[str, int]:
        """What was dropped of a block of a plan, for its ledger entry."""


class StepMove(Protocol):
    """Where the scenes of a step are read: beside the grid's own place, as far as their ground lies there."""

    def pieces(self, geobox: GeoBox, access: Access) -> tuple[Any, ...]:
        """A geobox in pieces with one shift each (``tasks/cube/moved.py``)."""


class Moves(Protocol):
    """Where the scenes of each step of a plan are read."""

    def of_step(self, entry: Any, step: int) -> StepMove | None:
        """That of a step of an input; None where it is not moved."""

    def counts(self, plan: Any, block: Any, access: Access) -> dict[str, dict[str, list[int]]]:
        """What was measured in a block of the plan, for its ledger entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The way to read scenes: hrefs are signed at read time, failed reads are recorded, decoded pixels are counted.

    ``reading``: the settings for opening a scene's files; ``readings``: those by the name of the scene's source, where
    there are several sources. ``sign(scene, href)`` returns the href as it can be opened now; None where no href needs
    a signature.
    ``failures`` None: the first read that fails for good raises. ``stats`` None: nothing is counted.
    ``register`` holds files of whose identity the plan knows none to the first that was read; None: they are not held.
    ``threads``: reads at a time. ``block`` is the block's name in failures, empty outside a job. ``in_turns``: the
    decoded pixels that neighbouring blocks share do not all fit in memory, so that blocks go through their steps in
    turns forwards and backwards. ``masks`` are those that a model makes of scenes, None without one. ``moves`` says
    where the scenes of each step are read, and ``move`` of the step that is; None: in their own place.
    """

    sign: Callable[[Scene, str], str] | None = None
    failures: FailureLog | None = None
    reading: Reading = field(default_factory=Reading)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    stats: ReadStats | None = None
    register: Register | None = None
    threads: int = 1
    block: str = ""
    in_turns: bool = True
    masks: ModelMasks | None = None
    moves: Moves | None = None
    move: StepMove | None = None

    def for_block(self, name: str, stats: ReadStats) -> Access:
        """The same access for one block, whose reads are counted in ``stats``."""
        return replace(self, block=name, stats=stats)

    def reading_of(self, scene: Scene) -> Reading:
        """The settings for opening the files of a scene. Raises KeyError for a scene of none of several sources."""
        return self.readings[scene.source] if self.readings else self.reading
