"""What is known of a product's finished COGs, kept in its ledger, so that a restart makes none of them twice."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.cog import CogFacts, multihash
from tasks.ledger import HOME
from tasks.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasks.storage import Storage

RECORDS = f"{HOME}/cogs"


def write_record(storage: Storage, facts: CogFacts, *, key: str) -> None:
    """Remember an uploaded COG: what made it (``key``) and what it holds."""
    plain = {
        "key": key,
        "etag": storage.etag(facts.path.name),
        "size": facts.size,
        "checksum": facts.checksum,
        "statistics": None if facts.statistics is None else asdict(facts.statistics),
        # JSON knows no numbers as names.
        "counts": [[value, count] for value, count in facts.counts.items()],
        "pixels": facts.pixels,
        "valid_pixels": facts.valid_pixels,
        "overviews": list(facts.overviews),
        "sidecar": None if facts.sidecar is None else facts.sidecar.name,
    }
    storage.write_json(_place(facts.path.name), plain)


def read_record(storage: Storage, name: str, *, key: str) -> CogFacts | None:
    """The facts of a standing COG made of the same ``key`` and not touched since; None where there is none.

    A local file is held against its checksum, an object in a bucket against the tag it had when it was uploaded.
    """
    plain = storage.read_json(_place(name))
    if not isinstance(plain, dict) or plain.get("key") != key:
        return None
    try:
        facts = _facts(name, plain)
    except (KeyError, TypeError, ValueError):
        return None
    return facts if _stands(storage, facts, plain.get("etag")) else None


def record_names(storage: Storage) -> list[str]:
    """File names of all COGs that a ledger remembers, sorted."""
    names = (key.rsplit("/", 1)[-1] for key in storage.keys(RECORDS))
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".tif.json"))


def forget_cogs(storage: Storage, names: list[str]) -> None:
    """Remove COGs with all that lies beside them, and what is known of them."""
    storage.delete([key for name in names for key in (_place(name), name, f"{name}.aux.xml")])


def _place(name: str) -> str:
    return f"{RECORDS}/{name}.json"


def _facts(name: str, plain: Mapping[str, Any]) -> CogFacts:
    return CogFacts(
        path=Path(name),
        size=plain["size"],
        checksum=plain["checksum"],
        statistics=None if plain["statistics"] is None else Statistics(**plain["statistics"]),
        counts={int(value): int(count) for value, count in plain["counts"]},
        pixels=plain["pixels"],
        valid_pixels=plain["valid_pixels"],
        overviews=tuple(plain["overviews"]),
        sidecar=None if plain["sidecar"] is None else Path(plain["sidecar"]),
    )


def _stands(storage: Storage, facts: CogFacts, etag: object) -> bool:
    name = facts.path.name
    if facts.sidecar is not None and storage.etag(facts.sidecar.name) is None:
        return False
    if storage.folder is None:
        return etag is not None and storage.etag(name) == etag
    path = storage.folder / name
    return path.is_file() and path.stat().st_size == facts.size and multihash(path) == facts.checksum
