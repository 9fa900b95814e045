"""What must hold of a product at any moment, and at the end: compared with one whose run was not disturbed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

STATE = ".tilewright/"

LEDGER = re.compile(r"\.tilewright/ledger/(-?\d+)_(-?\d+)\.json")

OF_THE_RUN = {
    "created", "updated", "efficiency", "finished", "started", "floor_seconds", "km2_per_s", "peak_memory_mb",
    "seconds", "read_factor", "bytes_read", "bytes_decoded", "workers", "blocks_made", "windows_made", "output",
    "promised", "measured", "ratios", "places_per_s",
}  # fmt: skip
"""Fields of an Item and a report that tell of the run's time, place and share, not of its map."""

OF_THE_PAGE = {"report.html", "progress.json"}
"""Files that tell of times all over: they must be there, and whole."""

MUST_NOT_REMAIN = re.compile(r"#\d+$|^\.tilewright/(staging|blocks\.zarr)/")
"""What a finished run and `clean` leave nothing of."""

EXIT_CODES = {0, 1, 2, 75, 129, 130, 143}
"""The documented exit codes; a signal that cannot be caught gives a negative one."""

TAKEN = "tilewright: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An undisturbed product: what each object says, and the key of each block's ledger entry by name."""

    facts: Mapping[str, object]
    keys: Mapping[str, str]

    @classmethod
    def of(cls, objects: Mapping[str, bytes]) -> Reference:
        """The reference that these objects of a product are."""
        entries = {name: json.loads(content) for name, content in ledger(objects).items()}
        return cls(facts=product_facts(objects), keys={name: entry["key"] for name, entry in entries.items()})


def product_facts(objects: Mapping[str, bytes]) -> dict[str, object]:
    """What each object of the product says, by key; the state folder is left out."""
    return {key: _facts(key, content) for key, content in objects.items() if not key.startswith(STATE)}


def differences(objects: Mapping[str, bytes], reference: Reference) -> list[str]:
    """The objects of a product that are missing, too many or different; empty for one that is whole."""
    found = product_facts(objects)
    wrong = [f"{key} is missing" for key in reference.facts if key not in found]
    wrong += [f"{key} is too many" for key in found if key not in reference.facts]
    return wrong + [
        f"{key} differs{_first_difference(found[key], reference.facts[key])}"
        for key in found
        if key in reference.facts and found[key] != reference.facts[key]
    ]


def early_listings(objects: Mapping[str, bytes]) -> list[str]:
    """The documents that list the product although its Item is not there."""
    if "item.json" in objects:
        return []
    found = []
    if "collection.json" in objects:
        links = json.loads(objects["collection.json"]).get("links", ())
        found += [f"collection.json links to {link['href']}" for link in links if link.get("rel") == "item"]
    if "items.parquet" in objects and (rows := pq.read_table(io.BytesIO(objects["items.parquet"])).num_rows):
        found.append(f"items.parquet lists {rows} items")
    return found


def ledger(objects: Mapping[str, bytes]) -> dict[str, bytes]:
    """The ledger's entries by block."""
    return {key.rsplit("/", 1)[-1][: -len(".json")]: content for key, content in objects.items() if LEDGER.match(key)}


def standing(objects: Mapping[str, bytes], reference: Reference) -> dict[str, bytes]:
    """The entries by block that hold for the reference's plan: their blocks need not be done again."""
    found = {}
    for name, content in ledger(objects).items():
        try:
            key = json.loads(content)["key"]
        except (ValueError, KeyError, TypeError):
            continue
        if reference.keys.get(name) == key:
            found[name] = content
    return found


def shard_keys(name: str, reference: Reference) -> list[str]:
    """The keys under which a block of a name, or a unit of places, waits.

    Without those of layers of objects: their numbers are known when all blocks are there, and are written then.
    """
    places = [tuple(map(int, block.split("_"))) for block in reference.keys]
    top, left = min(row for row, _ in places), min(col for _, col in places)
    row, col = map(int, name.split("_"))
    layers = sorted({key.split("/")[1] for key in reference.facts if re.match(r"data\.zarr/[^/]+/c/\d+/\d+$", key)})
    waiting = [
        f"{STATE}blocks.zarr/{layer}/c/{row - top}/{col - left}"
        for layer in layers
        if not _is_numbered(layer, reference)
    ]
    return waiting or [f"{STATE}places/{name}.bin"]


def _is_numbered(layer: str, reference: Reference) -> bool:
    described = reference.facts[f"data.zarr/{layer}/zarr.json"]
    return isinstance(described, bytes) and json.loads(described)["data_type"] == "int32"


def lock_holder(objects: Mapping[str, bytes]) -> int | None:
    """The process that holds the lock; None if none does."""
    try:
        plain = json.loads(objects.get(f"{STATE}lock.json", b""))
    except ValueError:
        return None
    return None if plain.get("state") == "released" else int(plain["pid"])


def leftovers(objects: Mapping[str, bytes]) -> list[str]:
    """The keys of what should be gone once a product is finished and cleaned."""
    return sorted(key for key in objects if MUST_NOT_REMAIN.search(key))


def bad_words(code: int, said: str) -> list[str]:
    """Faults of how a command ended: a code nobody documented, a trace, no sentence or several."""
    found = []
    if code not in EXIT_CODES:
        found.append(f"exit code {code}")
    if "Traceback" in said:
        found.append("a trace")
    sentences = [line for line in said.splitlines() if line.startswith(TAKEN)]
    if code != 0 and len(sentences) != 1:
        found.append(f"{len(sentences)} sentences with exit code {code}")
    return found


def _facts(key: str, content: bytes) -> object:
    if key in OF_THE_PAGE:
        return bool(content.strip())
    if key.endswith(".json") and "/" not in key:
        return _timeless(json.loads(content)) if content else "empty"
    if key.endswith(".parquet"):
        return _timeless(json.loads(json.dumps(pq.read_table(io.BytesIO(content)).to_pylist(), default=str)))
    return content


def _first_difference(ours: object, theirs: object) -> str:
    """Where two JSON values first differ, and how; nothing for other values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            if ours.get(key) != theirs.get(key):
                return f".{key}{_first_difference(ours.get(key), theirs.get(key))}"
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if one != other:
                return f"[{number}]{_first_difference(one, other)}"
    return "" if isinstance(ours, bytes) else f": {str(ours)[:60]} for {str(theirs)[:60]}"


def _timeless(plain: Any) -> Any:
    """A value without what tells of a run's time: fields by name, and the size and checksum of the page."""
    if isinstance(plain, list):
        return [_timeless(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    kept = {key: _timeless(value) for key, value in plain.items() if key not in OF_THE_RUN}
    if str(kept.get("href", "")).endswith(("report.html", "report.json")):
        kept = {key: value for key, value in kept.items() if key not in {"file:size", "file:checksum"}}
    return kept
