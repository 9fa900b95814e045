"""What rounding did to a layer: the errors made and the bytes saved, block by block and of the whole product."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs.zstd import Zstd

from tilewright.tasks.zarr.declare import INNER_CHUNK, ZSTD_LEVEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from tilewright.tasks.cog.statistics import Statistics
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.storage.ledger import BlockEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTally:
    """The errors of so many ``values``, and their bytes compressed as they came and as they are stored."""

    values: int = 0
    squares: float = 0.0
    greatest: float = 0.0
    bytes_exact: int = 0
    bytes_stored: int = 0

    def to_json(self) -> dict[str, Any]:
        """The tally as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> LossTally:
        """The tally that ``to_json`` wrote, of numbers that the ledger has checked; what is missing counts as 0."""
        return cls(**{name: plain[name] for name in cls.__slots__ if name in plain})


def joined_tallies(parts: Iterable[LossTally]) -> LossTally:
    """The tally of all, the same in any order of the parts."""
    each = list(parts)
    return LossTally(
        values=sum(part.values for part in each),
        squares=math.fsum(part.squares for part in each),
        greatest=max((part.greatest for part in each), default=0.0),
        bytes_exact=sum(part.bytes_exact for part in each),
        bytes_stored=sum(part.bytes_stored for part in each),
    )


def tally_of(exact: NDArray[np.float32], stored: NDArray[np.float32]) -> LossTally:
    """The tally of one block of a layer, (height, width) each."""
    valid = np.isfinite(exact)
    errors = stored[valid].astype(np.float64) - exact[valid]
    return LossTally(
        values=int(valid.sum()),
        squares=float(errors @ errors),
        greatest=float(np.abs(errors).max(initial=0.0)),
        bytes_exact=compressed_size(exact),
        bytes_stored=compressed_size(stored),
    )


def compressed_size(array: NDArray[Any]) -> int:
    """The bytes of an array (height, width) in chunks as the store has them, compressed as the store does."""
    codec, side = Zstd(level=ZSTD_LEVEL), INNER_CHUNK
    chunks = (
        array[top : top + side, left : left + side]
        for top in range(0, array.shape[0], side)
        for left in range(0, array.shape[1], side)
    )
    return sum(len(codec.encode(np.ascontiguousarray(chunk))) for chunk in chunks)


def loss_json(plan: Plan, entries: Iterable[BlockEntry], statistics: Mapping[str, Statistics | None]) -> dict[str, Any]:
    """The key ``loss`` of a report, nothing without losses: per layer the error allowed and made, bytes saved, PSNR.

    ``bytes_exact`` are those of the layer's blocks in the store without rounding. The PSNR in dB is
    10 log10(peak**2 / mean squared error), and its peak the distance of the least and the greatest value, from the
    layer's ``statistics``; None where nothing was lost, or no value differs from another.
    """
    known = [entry.losses for entry in entries]
    totals = {
        name: joined_tallies(LossTally.from_json(losses[name]) for losses in known if name in losses)
        for name in plan.losses
    }
    told = {
        name: {
            "allowed": most,
            "max_error": totals[name].greatest,
            "bytes_saved": totals[name].bytes_exact - totals[name].bytes_stored,
            "bytes_exact": totals[name].bytes_exact,
            "psnr": _psnr(totals[name], statistics.get(name)),
        }
        for name, most in plan.losses.items()
    }
    return {"loss": told} if told else {}


def _psnr(tally: LossTally, statistics: Statistics | None) -> float | None:
    peak = 0.0 if statistics is None else statistics.maximum - statistics.minimum
    if not tally.values or tally.squares <= 0 or not (0 < peak < math.inf):
        return None
    return 20 * math.log10(peak) - 10 * math.log10(tally.squares / tally.values)
