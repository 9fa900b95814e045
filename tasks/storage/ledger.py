"""What is done: the frozen plan, one entry per finished block, and the failures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import HOME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.storage.storage import Storage


PLAN = f"{HOME}/plan.json"

ENTRIES = f"{HOME}/ledger"

FAILURES = f"{HOME}/failures.ndjson"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEntry:
    """A finished block: what made it (``key``), what it holds (``checksums`` per layer), what it cost.

    ``observed`` has per input and step the pixels of the block inside the area that have a valid observation, and those
    observations in all; nothing where an older Tilewright made the block. ``seconds`` are busy seconds per stage;
    ``scenes`` the ids read; ``failures`` reads that failed for good inside the tolerance; ``written`` is False for a
    block without a valid pixel, which leaves no object in the store.
    """

    row: int
    col: int
    key: str
    written: bool
    checksums: dict[str, str] = field(default_factory=dict)
    windows_run: int = 0
    windows_skipped: int = 0
    pixels_read: int = 0
    pixels_needed: int = 0
    bytes_read: int = 0
    valid_pixels: int = 0
    observed: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    scenes: tuple[str, ...] = ()
    failures: tuple[dict[str, str], ...] = ()

    @property
    def name(self) -> str:
        """``<row>_<col>``."""
        return f"{self.row}_{self.col}"

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        return {**asdict(self), "scenes": list(self.scenes), "failures": list(self.failures)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> BlockEntry:
        """The entry ``to_json`` wrote."""
        observed = {
            name: tuple((int(pixels), int(total)) for pixels, total in steps)
            for name, steps in plain.get("observed", {}).items()
        }
        made = {"scenes": tuple(plain["scenes"]), "failures": tuple(plain["failures"]), "observed": observed}
        return cls(**{**plain, **made})


def digest(plain: object) -> str:
    """SHA-256 in hex over a value's canonical JSON: keys sorted, no blanks."""
    # Without indentation Python encodes in C, ten times faster: a key is made for every block.
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def freeze_plan(storage: Storage, plan: Mapping[str, Any]) -> bool:
    """Write the plan if there is none yet; False if another one stands already."""
    return storage.create_json(PLAN, plan)


def read_plan(storage: Storage) -> dict[str, Any] | None:
    """The frozen plan, or None where nothing was begun."""
    plan = storage.read_json(PLAN)
    if plan is not None and not isinstance(plan, dict):
        raise StoreError(f"{PLAN} in {storage.uri} is not a plan: restore it, or run again with --replace.")
    return plan


def write_entry(storage: Storage, entry: BlockEntry) -> None:
    """Record a finished block, after its pixels. An entry of the same key already there is the same block: kept."""
    key = f"{ENTRIES}/{entry.name}.json"
    if not storage.create_json(key, entry.to_json()):
        standing = storage.read_json(key)
        if not standing or standing.get("key") != entry.key:
            storage.write_json(key, entry.to_json())


def read_entries(storage: Storage) -> dict[str, BlockEntry]:
    """The finished blocks by name. An entry that cannot be understood counts as not there: its block is redone."""
    entries: dict[str, BlockEntry] = {}
    for key in storage.keys(ENTRIES):
        name = key.rsplit("/", 1)[-1]
        content = storage.read(key)
        if name.startswith(".") or not name.endswith(".json") or content is None:
            continue
        try:
            entry = BlockEntry.from_json(json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        entries[entry.name] = entry
    return entries


def remove_entries(storage: Storage, names: Iterable[str]) -> None:
    """Forget blocks, so that the next run does them again."""
    storage.delete([f"{ENTRIES}/{name}.json" for name in names])


def write_failures(storage: Storage, failures: Iterable[Mapping[str, str]]) -> None:
    """Replace the list of failures, one JSON object per line."""
    lines = [json.dumps(dict(failure), sort_keys=True, ensure_ascii=False) for failure in failures]
    storage.write(FAILURES, "".join(line + "\n" for line in lines).encode())


def read_failures(storage: Storage) -> tuple[dict[str, str], ...]:
    """The failures the last run left, oldest first."""
    content = storage.read(FAILURES) or b""
    return tuple(json.loads(line) for line in content.decode().splitlines() if line)
