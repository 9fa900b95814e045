"""The cost of a plan as its scenes and blocks grow: a country and a year of Sentinel-2, simulated as Items alone.

`python -m tests.benchmarks.planning FOLDER [--times 1 4] [--command TILEWRIGHT]` prints one JSON line per size. Nothing
but metadata is read: the files that the Items name do not exist. `--command` measures another installation.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj

from tests.benchmarks.field import measured

if TYPE_CHECKING:
    from collections.abc import Iterator

GRANULE, SPACING = 109_800, 100_000
"""Metres: side of a granule, and the distance between two."""

WEST, NORTH = 300_000, 5_900_000
COLUMNS, ROWS = 9, 9
"""Granules of the country, half of them in the neighbouring UTM zone: 81 over 810 000 km2."""

PASSES = 90
"""Overpasses of a year: 81 granules and 90 dates are 7 290 scenes."""

BLOCK = 1536


def scenes(*, years: int) -> Iterator[dict[str, Any]]:
    """The Items of a country for so many years, in the form of Earth Search v1."""
    for row in range(ROWS):
        for col in range(COLUMNS):
            zone, west = (32, WEST + col * SPACING) if col < 5 else (33, WEST + (col - 5) * SPACING - 140_000)
            yield from _granule(
                f"{zone}U{'ABCDEFGHJ'[row]}{'ABCDEFGHJ'[col]}", zone, west, NORTH - row * SPACING, years
            )


def _granule(name: str, zone: int, west: int, north: int, years: int) -> Iterator[dict[str, Any]]:
    to_degrees = pyproj.Transformer.from_crs(f"EPSG:326{zone}", "EPSG:4326", always_xy=True)
    xs = [west, west + GRANULE, west + GRANULE, west, west]
    ys = [north, north, north - GRANULE, north - GRANULE, north]
    lons, lats = to_degrees.transform(xs, ys)
    ring = [[round(lon, 6), round(lat, 6)] for lon, lat in zip(lons, lats, strict=True)]
    clouds = np.random.default_rng(int(west + north)).uniform(0, 60, PASSES * years)
    for number in range(PASSES * years):
        moment = datetime(2021, 1, 1, 10, 5, tzinfo=UTC) + timedelta(
            days=4 * (number % PASSES) + 365 * (number // PASSES)
        )
        yield {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": f"S2A_{name}_{moment:%Y%m%d}_0_L2A",
            "collection": "sentinel-2-l2a",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [min(lons), min(lats), max(lons), max(lats)],
            "properties": {
                "datetime": moment.isoformat().replace("+00:00", "Z"),
                "platform": "sentinel-2a",
                "eo:cloud_cover": round(float(clouds[number]), 2),
                "proj:epsg": 32600 + zone,
                "grid:code": f"MGRS-{name}",
                "s2:processing_baseline": "03.00",
                "s2:sequence": "0",
            },
            "links": [],
            "assets": {key: _asset(name, moment, key, west, north) for key in ("green", "nir", "scl")},
        }


def _asset(name: str, moment: datetime, key: str, west: int, north: int) -> dict[str, Any]:
    size = 20 if key == "scl" else 10
    stored = (
        {"nodata": 0, "data_type": "uint8"} if key == "scl" else {"nodata": 0, "data_type": "uint16", "scale": 1e-4}
    )
    return {
        "href": f"https://scenes.invalid/{name}/{moment:%Y%m%d}/{key}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "eo:bands": [{"name": key, "common_name": key}],
        "raster:bands": [{**stored, "spatial_resolution": size}],
        "proj:shape": [GRANULE // size] * 2,
        "proj:transform": [size, 0, west, 0, -size, north],
    }


def build_country(folder: Path, *, times: int) -> Path:
    """The job over a country: `times` years of scenes, and as many times the blocks."""
    import pyarrow.parquet as pq
    from stac_geoparquet.arrow import parse_stac_items_to_arrow

    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"scenes-{times}.parquet"
    if not table.exists():
        part = table.with_suffix(".part")
        pq.write_table(parse_stac_items_to_arrow(list(scenes(years=times))).read_all(), part)
        part.rename(table)
    # Four times the blocks are blocks of half the side.
    side = round(BLOCK / times**0.5 / 128) * 128
    job = folder / f"job-{times}.json"
    plain = {
        "name": f"country-{times}",
        "area": [6.5, 45.6, 18.9, 53.0],
        "period": f"2021-01-01/{2020 + times}-12-31",
        "source": str(table),
        "model": "ndwi-water",
        "grid": {"crs": "EPSG:32632", "resolution": 10},
        "tile": {"block": side, "step": 128},
        "limits": {"items": 200_000, "blocks": 200_000},
    }
    job.write_text(json.dumps(plain))
    return job


def main() -> None:
    """Measure the plan at each size, in whole processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--command", default=str(Path(sys.executable).parent / "tilewright"))
    asked = parser.parse_args()
    for times in asked.times:
        job = build_country(asked.folder.resolve(), times=times)
        answer = job.with_suffix(".plan.json")
        figures = measured([asked.command, "plan", str(job), "--json"], stdout=answer)
        plan = json.loads(answer.read_text())
        print(
            json.dumps(
                {
                    "benchmark": "planning",
                    "scenes": plan["n_scenes"],
                    "blocks": plan["n_blocks"],
                    "cpu_seconds": round(figures["cpu"], 1),
                    "seconds": round(figures["wall"], 1),
                    "peak_mb": round(figures["peak_mb"]),
                }
            )
        )


if __name__ == "__main__":
    main()
