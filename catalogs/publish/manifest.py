"""The input manifest of a product: a Parquet table of every scene it was made from, sufficient to read them again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.hrefs import display_href, json_without_secrets
from tilewright.catalogs.parquet import pyarrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tilewright.catalogs.scene import Scene


MEDIA_TYPE = "application/vnd.apache.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One scene of a product; `href` is its Item's, `used_in_blocks` the number of blocks that read from the scene."""

    scene: Scene
    href: str
    used_in_blocks: int


def write_manifest(path: Path, rows: Iterable[ManifestRow], keep_query: Sequence[str] = ()) -> None:
    """Write a Parquet file with one row per scene in the order of (datetime, id), hrefs without credentials.

    Of queries in hrefs only the parameters that `keep_query` names stay.

    Columns: id, collection, source, datetime, solar_day, href, checksum (of the assets, joined by spaces), state,
    state_reason, baseline, cloud_cover, platform, granule, orbit_state, relative_orbit, used_in_blocks, assets (list of
    band, href, checksum) and scene, the whole normalised scene as JSON. The same rows give the same bytes.
    """
    pa = pyarrow()
    ordered = sorted(rows, key=lambda row: (row.scene.datetime, row.scene.id))
    table = pa.Table.from_pylist([_record(row, keep_query) for row in ordered], schema=_schema(pa))
    pa.parquet.write_table(table, path, compression="zstd")


def unsigned(scene: Scene, keep_query: Sequence[str] = ()) -> Scene:
    """The scene with assets whose hrefs have no query, fragment, user and password, but what `keep_query` names."""
    assets = tuple(dataclasses.replace(asset, href=display_href(asset.href, keep_query)) for asset in scene.assets)
    return dataclasses.replace(scene, assets=assets)


def _record(row: ManifestRow, keep_query: Sequence[str]) -> dict[str, Any]:
    scene = unsigned(row.scene, keep_query)
    plain = ("id", "collection", "source", "datetime", "solar_day", "state", "state_reason", "baseline", "cloud_cover")
    place = ("platform", "granule", "orbit_state", "relative_orbit")
    return {
        **{name: getattr(scene, name) for name in plain + place},
        "href": display_href(row.href, keep_query),
        "checksum": " ".join(sorted({asset.checksum for asset in scene.assets if asset.checksum})) or None,
        "used_in_blocks": row.used_in_blocks,
        "assets": [{"band": asset.band, "href": asset.href, "checksum": asset.checksum} for asset in scene.assets],
        "scene": json.dumps(json_without_secrets(scene.to_json(), keep_query), sort_keys=True, allow_nan=False),
    }


def _schema(pa: Any) -> Any:
    asset = pa.struct([("band", pa.string()), ("href", pa.string()), ("checksum", pa.string())])
    required = ("id", "collection", "source", "solar_day", "href", "state", "state_reason")
    optional = ("checksum", "baseline", "platform", "granule", "orbit_state")
    return pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in required]
        + [pa.field(name, pa.string()) for name in optional]
        + [
            pa.field("datetime", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("cloud_cover", pa.float64()),
            pa.field("relative_orbit", pa.int32()),
            pa.field("used_in_blocks", pa.int32(), nullable=False),
            pa.field("assets", pa.list_(asset), nullable=False),
            pa.field("scene", pa.string(), nullable=False),
        ]
    )
