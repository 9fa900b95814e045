"""What a product's Item is made of in tests, and other Items of its collection."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pystac

from tilewright.catalogs.publish.facts import (
    COG,
    ClassFacts,
    FileFacts,
    FootprintFacts,
    GridFacts,
    LayerFacts,
    ModelSummary,
    ProductFacts,
    Provenance,
    RasterBand,
    SceneFacts,
    StatisticsFacts,
    TimeFacts,
)
from tilewright.catalogs.publish.item import build_item

CHECKSUM = "1220" + "ab" * 32
JUNE = datetime(2021, 6, 1, tzinfo=UTC)
BOX = (13.0, 48.4, 13.1, 48.5)


def outline(box: tuple[float, float, float, float]) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def layer_file(name: str, size: int) -> FileFacts:
    return FileFacts(
        key=name, href=f"./{name}.tif", media_type=COG, roles=("data",), title=name, size=size, checksum=CHECKSUM
    )


CLASS = LayerFacts(
    file=layer_file("class", 1234),
    band=RasterBand(
        dtype="uint8",
        nodata=255,
        classes=(
            ClassFacts(value=0, name="other", color="#bdbdbd", pixels=300),
            ClassFacts(value=1, name="open water", color="2E86DE", pixels=100),
        ),
        statistics=StatisticsFacts(minimum=0, maximum=1, mean=0.25, stddev=0.43, valid_percent=80),
    ),
)


VALUE = LayerFacts(
    file=layer_file("height", 99), band=RasterBand(dtype="float32", nodata=math.nan, unit="m", scale=0.5)
)


PRODUCT = ProductFacts(
    id="danube-water",
    collection="water",
    title="Water on the Danube",
    description="Where there was water in June 2021.",
    footprint=FootprintFacts(geometry=outline(BOX), bbox=BOX),
    time=TimeFacts(start=JUNE, end=JUNE + timedelta(days=29), created=datetime(2026, 11, 1, 12, tzinfo=UTC)),
    grid=GridFacts(crs="EPSG:32633", shape=(379, 578), transform=(10, 0, 350_000, 0, -10, 5_370_000), gsd=10),
    layers=(CLASS, VALUE),
    files=(
        FileFacts(key="zarr", href="./data.zarr", media_type="application/vnd.zarr; version=3", roles=("data",)),
        FileFacts(
            key="preview", href="./preview.png", media_type="image/png", roles=("thumbnail",), size=5, checksum=CHECKSUM
        ),
    ),
    provenance=Provenance(
        model=ModelSummary(
            id="ndwi-water",
            name="ndwi-water",
            href="https://cards.example.com/ndwi/card.json?token=secret",
            sha256="ab" * 32,
            tasks=("semantic-segmentation",),
            framework="ONNX",
        ),
        scenes=(
            SceneFacts(
                id="S2B_33UUP_20210617_1_L2A",
                collection="sentinel-2-l2a",
                href="https://someone:pass@stac.example.com/items/S2B?sig=secret#frag",
                datetime=JUNE + timedelta(days=16),
                platform="sentinel-2b",
            ),
        ),
        software={"tilewright": "0.1.0", "onnxruntime": "1.31.1"},
        expression={"grid": {"resolution": 10}},
    ),
)


def later(days: int, name: str, box: tuple[float, float, float, float] = BOX) -> pystac.Item:
    start = JUNE + timedelta(days=days)
    return build_item(
        dataclasses.replace(
            PRODUCT,
            id=name,
            time=dataclasses.replace(PRODUCT.time, start=start, end=start + timedelta(days=29)),
            footprint=FootprintFacts(geometry=outline(box), bbox=box),
            grid=dataclasses.replace(PRODUCT.grid, crs="EPSG:32632"),
        )
    )
