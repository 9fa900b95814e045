"""Files that say in many ways which of their pixels are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

SIGNS = {
    "header 0": {"header": 0, "hole": 0},
    "header 65535": {"header": 65535, "hole": 65535},
    "item 0": {"item": 0, "hole": 0},
    "item 65535": {"item": 65535, "hole": 65535},
    "item 0, header 65535": {"item": 0, "header": 65535, "hole": 0, "second": 65535},
    "item -9999, header 0": {"item": -9999, "header": 0, "hole": 0},
    "item nan, header 65535": {"item": "nan", "header": 65535, "hole": 65535},
    "nothing said": {"hole": 0},
    "item -9999": {"item": -9999, "hole": 0},
    "item nan": {"item": "nan", "hole": 0},
    "floats, nothing said": {"dtype": "float32", "hole": np.nan},
    "floats, header nan": {"dtype": "float32", "header": np.nan, "hole": np.nan, "second": np.inf},
    "floats, item -9999": {"dtype": "float32", "item": -9999, "hole": -9999, "second": np.nan},
    "floats, item 9, header nan": {"dtype": "float32", "item": 9, "header": np.nan, "hole": 9, "second": np.nan},
    "signed, header -9999": {"dtype": "int16", "header": -9999, "hole": -9999},
    "signed, item -9999, header 0": {"dtype": "int16", "item": -9999, "header": 0, "hole": -9999, "second": 0},
    "item 70000, mask": {"item": 70000, "mask": "inside", "hole": 3000},
    "item 0, alpha": {"item": 0, "alpha": True, "hole": 0, "second": 3000},
    "mask": {"mask": "inside", "hole": 3000},
    "mask, header 0": {"mask": "inside", "header": 0, "hole": 3000, "second": 0},
    "mask, dark": {"mask": "inside", "hole": 5},
    "alpha, dark": {"alpha": True, "hole": 5},
    "header 5": {"header": 5, "hole": 5},
    "mask beside": {"mask": "beside", "hole": 3000},
    "alpha": {"alpha": True, "hole": 3000},
    "value beside": {"beside": 7777, "hole": 7777},
}
"""How a file of a band says what is missing. ``second`` is another number that is missing too, at some of the holes."""


def write_band(path: Path, numbers: np.ndarray, holes: np.ndarray, sign: str, *, transform: Affine, crs: str) -> Any:
    """The file of a band with those holes; returns the nodata that its item must state, None for none."""
    said = SIGNS[sign]
    stored = numbers.astype(said.get("dtype", numbers.dtype))
    stored[holes] = said["hole"]
    if "second" in said:
        stored[holes & (np.indices(holes.shape).sum(axis=0) % 3 == 0)] = said["second"]
    inside = "YES" if said.get("mask") == "inside" else "NO"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside),
        open_new(path, stored, transform=transform, crs=crs, header=said.get("header"), alpha="alpha" in said) as file,
    ):
        file.write(stored, 1)
        if "mask" in said:
            file.write_mask(np.where(holes, 0, 255).astype(np.uint8))
        if "alpha" in said:
            # Half transparent is there.
            file.write(np.where(holes, 0, 128).astype(stored.dtype), 2)
    if "beside" in said:
        words = f'<PAMRasterBand band="1"><NoDataValue>{said["beside"]}</NoDataValue></PAMRasterBand>'
        path.with_name(path.name + ".aux.xml").write_text(f"<PAMDataset>{words}</PAMDataset>")
    return said.get("item")


def open_new(
    path: Path, numbers: np.ndarray, *, transform: Affine, crs: str, header: float | None = None, alpha: bool = False
) -> Any:
    """A tiled GeoTIFF of those numbers' shape and type, open to be written."""
    file = rasterio.open(
        path, "w", driver="GTiff", height=numbers.shape[0], width=numbers.shape[1], count=2 if alpha else 1,
        dtype=numbers.dtype, crs=crs, transform=transform, nodata=header, tiled=True, blockxsize=64, blockysize=64,
        compress="deflate",
    )  # fmt: skip
    if alpha:
        file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    return file
