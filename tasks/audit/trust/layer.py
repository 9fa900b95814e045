"""The layer `trusted` as files: a COG with its legend and class names, its style, and its asset in an Item."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.catalogs.publish.facts import COG, ClassFacts, FileFacts, LayerFacts, RasterBand, StatisticsFacts
from tilewright.catalogs.publish.item import layer_asset
from tilewright.tasks.audit.trust.trusted import NODATA, NOT_TRUSTED, TRUSTED
from tilewright.tasks.cog.spec import CogClass, CogSpec
from tilewright.tasks.cog.staging import COG_TILE
from tilewright.tasks.cog.write import write_cog
from tilewright.tasks.grid.areas import mean_pixel_metres
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.styles.styles import ENDING, MEDIA_TYPE, LayerStyle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tilewright.tasks.audit.trust.trusted import TrustMap
    from tilewright.tasks.cog.write import CogFacts

NAME = "trusted"

FILES = (f"{NAME}.tif", f"{NAME}.tif.aux.xml", f"{NAME}{ENDING}")
"""The layer, its class names for GDAL, and its style for QGIS."""

KEYS = (NAME, f"{NAME}_names", f"{NAME}_style")
"""The assets of these files."""

LEGEND = (
    CogClass(
        value=NOT_TRUSTED,
        name="not trusted",
        description="Another class is possible too, or too many such labels are wrong",
        color="B8B2A7",
    ),
    CogClass(
        value=TRUSTED,
        name="trusted",
        description="The mapped class alone is possible, and is right as often as asked",
        color="1B7F79",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedFile:
    """One of the files with what an Item says of it: ``facts`` are the asset's fields beyond those of any file."""

    name: str
    key: str
    title: str
    media_type: str
    roles: tuple[str, ...]
    facts: Mapping[str, Any]


def write_trusted(trust: TrustMap, folder: Path, *, coverage: float, metadata: Mapping[str, str]) -> list[TrustedFile]:
    """Write the layer into a local folder, a row of the product's tiles at a time.

    The same pixels give the same bytes, whatever the product's blocks. ``metadata`` come into the file, and with them
    the coverage and the thresholds.

    Raises CogError if the disk is full, StorageError or ChangedStoreError where pixels cannot be read.
    """
    grid, extent = trust.grid, trust.grid.extent
    high, wide = trust.target.layer.tile
    layer = trust.target.layer.name
    spec = CogSpec(
        name=NAME,
        dtype="uint8",
        nodata=NODATA,
        kind="class",
        classes=LEGEND,
        description=f"where {layer} may be trusted, at a coverage of {coverage:g} of each class",
    )
    assert trust.target.classes is not None, "a layer of classes"
    names, limits = trust.target.classes.names, [each.value for each in trust.thresholds]
    told = {
        "TILEWRIGHT_COVERAGE": f"{coverage:g}",
        "TILEWRIGHT_THRESHOLDS": json.dumps(dict(zip(names, limits, strict=True))),
        "TILEWRIGHT_LEAST_SCORES": json.dumps(dict(zip(names, trust.least, strict=True))),
    }
    with trust.pixels() as pixels:

        def rows(start: int, stop: int) -> np.ndarray:
            found = np.empty((stop - start, extent.shape[1]), dtype=np.uint8)
            # A column of the product's tiles at a time, so that each tile is read once, in parts of a bounded size.
            for left in range(0, extent.shape[1], wide):
                right = min(left + wide, extent.shape[1])
                for top, col in product(range(start, stop, COG_TILE), range(left, right, COG_TILE)):
                    shape = (min(COG_TILE, stop - top), min(COG_TILE, right - col))
                    box = PixelBox.at(extent.row_start + top, extent.col_start + col, shape=shape)
                    found[top - start : top - start + shape[0], col : col + shape[1]] = trust.of(box, pixels)[0]
            return found

        facts = write_cog(
            folder / FILES[0],
            rows=rows,
            shape=extent.shape,
            transform=grid.transform_of(extent),
            crs=grid.crs,
            spec=spec,
            metadata={**metadata, **told},
            read_rows=-(-high // COG_TILE) * COG_TILE,
        )
    (folder / FILES[2]).write_bytes(LayerStyle(spec=spec, ends=None).documents()[FILES[2]])
    plain = TrustedFile(
        name=FILES[1], key=KEYS[1], title="Class names for GDAL", media_type=MEDIA_TYPE, roles=("metadata",), facts={}
    )
    style = TrustedFile(
        name=FILES[2], key=KEYS[2], title="Style for QGIS", media_type=MEDIA_TYPE, roles=("style",), facts={}
    )
    return [_map(trust, facts, spec), plain, style]


def _map(trust: TrustMap, facts: CogFacts, spec: CogSpec) -> TrustedFile:
    statistics = None if facts.statistics is None else StatisticsFacts(**asdict(facts.statistics))
    classes = tuple(ClassFacts(**asdict(each), pixels=facts.counts.get(each.value, 0)) for each in spec.classes)
    told = LayerFacts(
        file=FileFacts(
            key=NAME,
            href=f"./{FILES[0]}",
            media_type=COG,
            roles=("metadata",),
            title=NAME,
            description=spec.description,
            size=facts.size,
            checksum=facts.checksum,
        ),
        band=RasterBand(dtype=spec.dtype, nodata=spec.nodata, classes=classes, statistics=statistics),
    )
    asset = layer_asset(told, gsd=mean_pixel_metres(trust.grid))
    more = {name: value for name, value in asset.extra_fields.items() if not name.startswith("file:")}
    return TrustedFile(
        name=FILES[0],
        key=NAME,
        title="Where the map may be trusted",
        media_type=COG,
        roles=("metadata",),
        facts={"description": spec.description, **more},
    )
