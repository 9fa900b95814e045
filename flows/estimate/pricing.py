"""The cost of a plan: its hours, bytes and requests at unit prices from a table that the user can replace."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.sources.plain import load_plain
from tilewright.tasks.plan.shards import cut_shards
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from tilewright.flows.estimate.estimate import Estimate
    from tilewright.tasks.plan.plan import Plan


EXAMPLE_PRICES = Path(__file__).with_name("prices.yaml")

REQUEST_BYTES = 1.5e6
"""Bytes of one range request, assumed: GDAL joins a few neighbouring 512 x 512 tiles."""

GPU_PROVIDERS = {"cuda", "tensorrt"}


class PriceError(ValueError):
    """A table of prices that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Unit prices in ``currency``."""

    currency: str
    cpu_core_hour: float
    gpu_hour: float
    read_gb: float
    requests_1000: float
    storage_gb_month: float
    machine_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The amounts of a plan and their costs in ``currency``; ``storage`` is per month, all else once."""

    currency: str
    cpu_core_hours: float
    gpu_hours: float
    read_gb: float
    n_requests: int
    stored_gb: float
    compute: float
    reading: float
    storage: float

    @property
    def total(self) -> float:
        """The cost of the run with the first month of its product."""
        return self.compute + self.reading + self.storage

    def to_json(self) -> dict[str, Any]:
        """The cost as JSON values."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "total": self.total}

    def lines(self) -> list[tuple[str, str]]:
        """The cost as (label, text), for the terminal."""
        hours = f"{_two_decimals(self.cpu_core_hours)} core-hours"
        if self.gpu_hours:
            hours += f", {_two_decimals(self.gpu_hours)} GPU-hours"
        return [
            ("compute", hours),
            ("transfer", f"{_two_decimals(self.read_gb)} GB in {plural(self.n_requests, 'request')}"),
            (
                "cost",
                (
                    f"{_two_decimals(self.total)} {self.currency}: compute {_two_decimals(self.compute)}, "
                    f"reading {_two_decimals(self.reading)}, a month of the product {_two_decimals(self.storage)}"
                ),
            ),
        ]


def read_prices(path: Path | None = None) -> Prices:
    """The prices in a YAML table; without a path, those of Tilewright's example table.

    Raises PriceError where a price is missing, unknown, or not a number of zero or more.
    """
    path = path or EXAMPLE_PRICES
    try:
        plain = load_plain(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PriceError(f"The prices {path} cannot be read: {' '.join(str(error).split())[:200]}.") from error
    names = {field.name for field in fields(Prices)}
    if not isinstance(plain, dict) or set(plain) != names:
        given = set(plain) if isinstance(plain, dict) else set()
        raise PriceError(
            f"The prices {path}: missing {_listed(names - given)}, unknown {_listed(given - names)}. "
            f"Expected: {', '.join(sorted(names))}."
        )
    wrong = [name for name in names - {"currency"} if not _is_price(plain[name])]
    if wrong:
        raise PriceError(f"The prices {path}: {_listed(set(wrong))} must be numbers of zero or more.")
    return Prices(**{**plain, "currency": str(plain["currency"])})


def price(estimate: Estimate, prices: Prices, *, n_machines: int = 1) -> Cost:
    """The cost of a plan's estimate; several machines share the time and each costs its price per hour."""
    hours = estimate.seconds / 3600
    on_gpu = estimate.provider in GPU_PROVIDERS
    core_hours = 0.0 if on_gpu else hours * estimate.n_cores
    read_gb = estimate.bytes_read / 1e9
    n_requests = int(estimate.bytes_read / REQUEST_BYTES) + estimate.n_scenes
    stored_gb = estimate.bytes_stored / 1e9
    return Cost(
        currency=prices.currency,
        cpu_core_hours=core_hours,
        gpu_hours=hours if on_gpu else 0.0,
        read_gb=read_gb,
        n_requests=n_requests,
        stored_gb=stored_gb,
        compute=core_hours * prices.cpu_core_hour
        + (hours * prices.gpu_hour if on_gpu else 0.0)
        + hours * n_machines * prices.machine_hour,
        reading=read_gb * prices.read_gb + n_requests / 1000 * prices.requests_1000,
        storage=stored_gb * prices.storage_gb_month,
    )


def shards_json(plan: Plan, n_shards: int) -> list[dict[str, Any]]:
    """Each shard's number, count of blocks, and first and last block (row, col), as JSON values."""
    return [
        {"number": shard.number, "blocks": len(shard.places), "first": shard.places[0], "last": shard.places[-1]}
        for shard in cut_shards(plan, n_shards)
    ]


def shard_lines(plan: Plan, estimate: Estimate, n_shards: int) -> list[tuple[str, str]]:
    """The cut of a plan into shards as (label, text), for the terminal; empty for one shard."""
    if n_shards == 1:
        return []
    shards = cut_shards(plan, n_shards)
    most = max(len(shard.places) for shard in shards)
    seconds = estimate.seconds * most / len(plan.raster.blocks)
    cut = f"{len(shards)}, of {min(len(shard.places) for shard in shards)} to {plural(most, 'block')}"
    return [("shards", f"{cut}; about {seconds:,.0f} s on as many machines like this one")]


def _two_decimals(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 0.01 or amount == 0 else "< 0.01"


def _is_price(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(str(name) for name in names)) or "none"
