"""The ledger of a product: the frozen plan, one entry per finished block, and the failures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.hrefs import json_without_secrets
from tilewright.tasks.storage.documents import json_object, read_many
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.secrets import join, kept_of, write_apart
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.tasks.storage.storage import Storage


PLAN = f"{STATE_FOLDER}/plan.json"

ENTRIES = f"{STATE_FOLDER}/ledger"

FAILURES = f"{STATE_FOLDER}/failures.ndjson"

MOST = 2**53
"""A bound of all that an entry counts, which JSON carries exactly: what is beyond it is damage."""

MOST_SUM = 2**160
"""A bound of the sums of values and of their squares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEntry:
    """A finished block: the ``key`` of everything that determines its pixels, a checksum per layer, and its cost.

    ``observed`` holds, per input and step, the number of the block's pixels inside the area that have a valid
    observation, and the number of those observations; empty for blocks of older Tilewrights. ``bytes_read`` are the
    bytes of the files' blocks as they are stored, compressed, ``bytes_decoded`` those of their pixels; ``reads`` counts
    windows of files. ``seconds`` are busy seconds per stage; ``scenes`` the ids read; ``failures`` the tolerated reads
    that failed permanently; ``written`` is False for a block without a valid pixel, which has no object in the store.
    ``seams`` are the numbers of its windows that were compared with shifted ones (``tasks/block/seams.py``), empty if
    none was. ``inputs`` holds the identity, by "collection item band", of files that the plan does not identify, as
    they were first read. ``losses`` tells, by layer, what rounding did to values stored with an error
    (``tasks/lossy/tally.py``), and ``masked`` what a model's masks dropped (``tasks/serving/counted.py``). Of the
    ``windows_skipped`` a screen left out ``windows_screened``. ``aligned``: the shifts of dates that were measured
    (``tasks/serving/moves.py``). ``sums``: of the values of each input's bands, if the card tells their statistics
    (``tasks/audit/drift/sums.py``).
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
    bytes_decoded: int = 0
    reads: int = 0
    valid_pixels: int = 0
    observed: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    scenes: tuple[str, ...] = ()
    failures: tuple[dict[str, str], ...] = ()
    seams: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    losses: dict[str, dict[str, Any]] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)
    windows_screened: int = 0
    aligned: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    sums: dict[str, list[list[int]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``<row>_<col>``, the block's name."""
        return f"{self.row}_{self.col}"

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        plain = {**asdict(self), "scenes": list(self.scenes), "failures": list(self.failures)}
        # Entries of a product without them are as they always were.
        return {
            key: value
            for key, value in plain.items()
            if value or key not in {"losses", "masked", "windows_screened", "aligned", "sums"}
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> BlockEntry:
        """The entry from the JSON values of ``to_json``."""
        observed = {
            name: tuple((int(pixels), int(total)) for pixels, total in steps)
            for name, steps in plain.get("observed", {}).items()
        }
        parsed = {"scenes": tuple(plain["scenes"]), "failures": tuple(plain["failures"]), "observed": observed}
        return cls(**{**plain, **parsed})


def json_digest(plain: object) -> str:
    """The SHA-256 in hex of a value's canonical JSON: keys sorted, no blanks."""
    # Without indentation Python encodes JSON in C, ten times faster: every block has a key.
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def freeze_plan(storage: Storage, plan: Mapping[str, Any]) -> bool:
    """True if the plan was written; False if storage holds a plan already, which is kept."""
    if storage.read(PLAN) is not None:
        return False
    return storage.create_json(PLAN, write_apart(storage, plan), kept_of(plan.get("source")))


def replace_frozen(storage: Storage, plan: Mapping[str, Any]) -> None:
    """Write a plan in place of the one that storage holds."""
    storage.write_json(PLAN, write_apart(storage, plan), kept_of(plan.get("source")))


class DamagedPlanError(StoreError):
    """A frozen plan that is cut off, garbage or of another type; a run of the same job can make it anew."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(
            f"The plan in {uri}/{STATE_FOLDER} is damaged ({reason}): restore it, or run the same job again, which "
            "keeps what stands, or with --replace, which starts over."
        )


def read_plan(storage: Storage) -> dict[str, Any] | None:
    """The frozen plan with the secrets of its hrefs, or None if no run has begun.

    Raises DamagedPlanError for a file that is not a plan, of whatever version.
    """
    content = storage.read(PLAN)
    if content is None:
        return None
    plan = json_object(content)
    kinds = {"format": int, "name": str, "request": dict, "versions": dict, "layers": list, "blocks": list}
    wrong = [key for key, kind in kinds.items() if plan is not None and not isinstance(plan.get(key), kind)]
    if plan is None or wrong:
        raise DamagedPlanError(storage.uri, f"{wrong[0]} is missing" if wrong else "it is not JSON of a plan")
    return join(storage, plan)


def write_entry(storage: Storage, entry: BlockEntry) -> None:
    """Record a finished block, after its pixels are written. A whole entry with the same key is kept."""
    key = f"{ENTRIES}/{entry.name}.json"
    if not storage.create_json(key, entry.to_json()):
        existing = parse_entry(storage.read(key))
        if existing is None or existing.key != entry.key or existing.name != entry.name:
            storage.write_json(key, entry.to_json())


def parse_entry(content: bytes | None) -> BlockEntry | None:
    """The entry in these bytes; None for what is no whole entry, whose block is then redone."""
    plain = json_object(content)
    if plain is None:
        return None
    try:
        entry = BlockEntry.from_json(plain)
        return entry if _is_whole(entry) else None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def read_entries(storage: Storage) -> dict[str, BlockEntry]:
    """The entries of the finished blocks by name, without those that cannot be parsed: their blocks are redone."""
    entries: dict[str, BlockEntry] = {}
    keys = [key for key in storage.keys(ENTRIES) if key.endswith(".json") and "/." not in key]
    for key, content in zip(keys, read_many(storage, keys), strict=True):
        name = key.rsplit("/", 1)[-1]
        entry = parse_entry(content)
        # An entry under another block's name, as of a file that was copied, says nothing of that block.
        if entry is not None and name == f"{entry.name}.json":
            entries[entry.name] = entry
    return entries


def _is_whole(entry: BlockEntry) -> bool:
    """True if the fields that others count with are what they should be; anybody may have written the file."""
    counts = (entry.valid_pixels, entry.windows_run, entry.windows_skipped, entry.bytes_read)
    amounts = (
        *counts,
        entry.windows_screened,
        entry.pixels_read,
        entry.pixels_needed,
        entry.bytes_decoded,
        entry.reads,
    )
    tables = (entry.checksums, entry.inputs, entry.seconds, entry.seams, entry.losses, entry.masked)
    return (
        all(_is_count(place) for place in (abs(entry.row), abs(entry.col)))
        and all(_is_count(count) for count in (*amounts, *_observed_counts(entry)))
        and isinstance(entry.key, str)
        and isinstance(entry.written, bool)
        and all(isinstance(table, dict) for table in tables)
        and all(isinstance(text, str) for table in (entry.checksums, entry.inputs) for text in table.values())
        and all(isinstance(seconds, (int, float)) and 0 <= seconds < MOST for seconds in entry.seconds.values())
        and all(0 <= number < float("inf") for tally in entry.losses.values() for number in tally.values())
        and all(_is_count(number) for number in entry.masked.values())
        and _is_measured(entry.aligned)
        and _are_sums(entry.sums)
        and all(isinstance(scene, str) for scene in entry.scenes)
        and all(
            isinstance(failure, dict)
            and {"item", "band", "block", "reason"} <= failure.keys()
            and all(isinstance(text, str) for text in failure.values())
            for failure in entry.failures
        )
    )


def _is_measured(aligned: object) -> bool:
    """True if shifts are whole numbers of centimetres, of known names."""
    keys = {"windows", "x", "y", "left"}
    return isinstance(aligned, dict) and all(
        isinstance(told, dict)
        and told.keys() == keys
        and all(isinstance(numbers, list) for numbers in told.values())
        and all(isinstance(each, int) and abs(each) < MOST for numbers in told.values() for each in numbers)
        and len(told["windows"]) == len(keys) - 1
        for told in aligned.values()
    )


def _are_sums(sums: object) -> bool:
    """True if the sums of each band are whole numbers: a count, two sums, two more counts; or none."""
    return isinstance(sums, dict) and all(
        isinstance(bands, list)
        and all(isinstance(band, list) and len(band) in {0, 5} for band in bands)
        and all(isinstance(each, int) and abs(each) < MOST_SUM for band in bands for each in band)
        and all(_is_count(band[place]) for band in bands if band for place in (0, 3, 4))
        for bands in sums.values()
    )


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < MOST


def _observed_counts(entry: BlockEntry) -> list[int]:
    return [number for steps in entry.observed.values() for counts in steps for number in counts]


def remove_entries(storage: Storage, names: Iterable[str]) -> None:
    """Remove the entries of blocks, so that the next run redoes the blocks."""
    storage.delete([f"{ENTRIES}/{name}.json" for name in names])


def write_failures(storage: Storage, failures: Iterable[Mapping[str, str]]) -> None:
    """Replace the list of failures, one JSON object per line."""
    lines = [json.dumps(json_without_secrets(dict(failure)), sort_keys=True) for failure in failures]
    storage.write(FAILURES, "".join(line + "\n" for line in lines).encode())


def read_failures(storage: Storage) -> tuple[dict[str, str], ...]:
    """The failures of the last run, oldest first, without lines that were cut off or are no failure."""
    content = storage.read(FAILURES) or b""
    rows = (_failure(line) for line in content.split(b"\n"))
    return tuple(row for row in rows if row)


def _failure(line: bytes) -> dict[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in row.items()} if isinstance(row, dict) else {}
