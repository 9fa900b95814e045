"""The files and items of a random world's scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling

from tests.reference.granules import Blob, Granule, Ground, random_granule, whole_granule
from tests.reference.rasters import open_new, write_band
from tests.reference.traits import Traits

GEOTIFF = "image/tiff; application=geotiff"
ODD_CLASSES = (0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Painter:
    """Draws scenes of those traits over the ground, their files under the folder."""

    folder: Path
    traits: Traits
    ground: Ground
    random: np.random.Generator

    def scene(self, name: str, when: dict[str, str], said: dict[str, Any]) -> dict[str, Any]:
        """The item of a new scene, its files written."""
        granule = self._granule()
        old = self._chance(0.5)
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": name,
            "collection": "sentinel-2-l2a",
            **granule.footprint(),
            "properties": {**when, "s2:processing_baseline": "02.14" if old else "05.09", **said},
            "links": [],
            "assets": {**self._bands(name, granule, old=old), **self._mask(name, granule)},
        }

    def _chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def _granule(self) -> Granule:
        home, other = self.ground.zones
        crs = other if self._chance(self.traits.other_zone) else home
        if self.traits.tame and crs == home and self.traits.aligned:
            return whole_granule(self.ground, self.random)
        return random_granule(self.ground, crs, self.random, shift=0.0 if self.traits.aligned else 3.0)

    def _bands(self, name: str, granule: Granule, *, old: bool) -> dict[str, Any]:
        """The assets of the bands that the scene has."""
        present = [band for band in self.traits.bands if not self._chance(self.traits.absent)]
        shared = granule.blobs(self.random, int(self.random.integers(0, 3)))
        tells_grid = self._chance(0.5)
        assets = {}
        for band in present or self.traits.bands[:1]:
            own = granule.blobs(self.random, 1) if self._chance(0.3) and not self.traits.tame else []
            size = 20 if band == "swir16" or (band == "nir" and not self.traits.fine_nir) else 10
            assets[band] = self._band(self.folder / f"{name}-{band}.tif", granule, size, shared + own)
            # Old baselines have no offset, and some catalogs advertise one all the same.
            assets[band]["raster:bands"][0]["offset"] = -0.1 if not old or self._chance(0.5) else 0
            if tells_grid:
                assets[band] |= _grid(granule, size)
        return assets

    def _band(self, path: Path, granule: Granule, size: int, blobs: list[Blob]) -> dict[str, Any]:
        """The asset of a band: noise, with the blobs and all that was not seen missing."""
        numbers = self.random.integers(1100, 7000, granule.shape(size)).astype(np.uint16)
        sign = str(self.random.choice(list(self.traits.signs)))
        holes = granule.outside(size) | granule.inside(blobs, size)
        said = write_band(path, numbers, holes, sign, transform=granule.transform(size), crs=granule.crs)
        if self.traits.overviews:
            with rasterio.open(path, "r+") as file:
                file.build_overviews([2, 4], Resampling.average)
        # Whole numbers may be of another type than the item says; floats are refused where nobody says that they are.
        dtype = "float32" if sign.startswith("floats") else "uint16"
        entry = {"data_type": dtype, "scale": 0.0001, **({} if said is None else {"nodata": said})}
        return {"href": str(path), "type": GEOTIFF, "raster:bands": [entry], "title": sign}

    def _mask(self, name: str, granule: Granule) -> dict[str, Any]:
        """The asset of what tells clouds, on a grid and an extent of its own; none in some scenes."""
        if self._chance(self.traits.no_mask):
            return {}
        more = 0 if self.traits.tame else int(self.random.choice([-180, 0, 0, 120]))
        wide = granule.wider(more)
        size = int(self.random.choice([20, 60]))
        kind = {"rule": "blue", "probability": "cloud"}.get(self.traits.mask, "scl")
        numbers = self._clouds(wide, kind, size)
        path = self.folder / f"{name}-{kind}.tif"
        header = 0 if kind == "blue" or self.traits.tame or self._chance(0.5) else None
        with open_new(path, numbers, transform=wide.transform(size), crs=granule.crs, header=header) as file:
            file.write(numbers, 1)
        entry: dict[str, Any] = {"data_type": str(numbers.dtype)}
        if kind == "blue":
            entry |= {"scale": 0.0001, "offset": -0.1, "nodata": 0}
        return {kind: {"href": str(path), "type": GEOTIFF, "raster:bands": [entry]}}

    def _clouds(self, wide: Granule, kind: str, size: int) -> np.ndarray:
        """What tells clouds: scene classes, blue reflectance with a few holes, or percent."""
        shape = wide.shape(size)
        blobs = wide.blobs(self.random, 8)
        if kind == "scl":
            numbers = self.random.choice(np.array([4, 5, 6, 7], np.uint8), shape)
            for blob in blobs:
                numbers[wide.inside([blob], size)] = self.random.choice(ODD_CLASSES)
            return numbers
        low, high, dtype = (1500, 6000, np.uint16) if kind == "blue" else (0, 70, np.uint8)
        numbers = (low + self.random.integers(0, 900 if kind == "blue" else 40, shape)).astype(dtype)
        numbers[wide.inside(blobs[:6], size)] = high
        if kind == "blue":
            numbers[wide.inside(blobs[6:], size)] = 0
        return numbers


def _grid(granule: Granule, size: int) -> dict[str, Any]:
    """The fields of the projection extension."""
    return {
        "proj:code": granule.crs,
        "proj:epsg": int(granule.crs.rpartition(":")[2]),
        "proj:shape": list(granule.shape(size)),
        "proj:transform": list(granule.transform(size))[:6],
    }
