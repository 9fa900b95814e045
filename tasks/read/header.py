"""The header of a file: all that its reading depends on, and the faults no retry heals."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags

from tilewright.tasks.grid.extents import beyond, no_place
from tilewright.tasks.read.resample.pixels import MissingSigns, held_marker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from affine import Affine

    from tilewright.catalogs.scene import BandAsset


FILE_WORDS = ("OVERVIEW_RESAMPLING", "OVR_RESAMPLING_ALG")
"""Names under which a file says how all its overviews were made. Source: GDAL 3.12's COG driver; rio-cogeo."""

ALPHA_NAMES = frozenset({"a", "alpha", "opacity", "transparency", "mask", "datamask", "data_mask"})
"""Names of bands that say where the picture is, in lower case."""

NO_NAME = re.compile(r"(band|channel|layer)?[ _]?\d+")
"""Descriptions that only count."""

NO_CRS_IN_FILE = "write one into it (gdal_edit.py -a_srs)"

NO_CRS_IN_STORE = (
    "state proj:code in the item or in its asset (EPSG:32633 or its like), or write the Zarr store with "
    "rioxarray's write_crs before to_zarr"
)

LEAST_BRIGHT = 0.1
"""Reflectance that the largest number of a file must reach at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """The facts of an open file, or of one of its overviews. Lists are in the order of the file's bands.

    `crs` is WKT, empty without one; `masked`: the band has a mask that is no alpha band; `alpha` is the number of the
    band that the file calls alpha; `gcps`: the file has ground control points, `rpcs`: polynomials instead of a place;
    `rule` is the word on how the overview, or every overview of the file, was made, in GDAL's upper case, empty without
    one; `beside`: the `.aux.xml` beside the file names a nodata value; `laid_out`: GDAL arranged the file as a COG;
    `wavelets`: it is a JPEG 2000; `array`: one of a Zarr store.
    """

    crs: str
    located: bool
    transform: Affine
    shape: tuple[int, int]
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str, ...]
    masked: tuple[bool, ...]
    alpha: int | None
    gcps: bool
    rule: str
    beside: bool
    laid_out: bool = False
    wavelets: bool = False
    rpcs: bool = False
    array: bool = False

    @classmethod
    def of(cls, dataset: Any, *, href: str, crs: str = "") -> FileHeader:
        """The header of a rasterio dataset that was opened for an href; `crs` counts for an array that says none."""
        stated = CRS.from_user_input(crs) if crs and dataset.driver == "Zarr" else None
        found, flags = dataset.crs or stated, dataset.mask_flag_enums
        alphas = [index for index, colour in enumerate(dataset.colorinterp, 1) if colour == ColorInterp.alpha]
        return cls(
            crs="" if found is None else found.to_wkt(),
            located=found is not None and (found.is_projected or found.is_geographic),
            transform=dataset.transform,
            shape=dataset.shape,
            dtypes=tuple(dataset.dtypes),
            nodata=tuple(dataset.nodatavals),
            scales=tuple(dataset.scales),
            offsets=tuple(dataset.offsets),
            descriptions=tuple(text or "" for text in dataset.descriptions),
            masked=tuple(MaskFlags.per_dataset in of and MaskFlags.alpha not in of for of in flags),
            alpha=alphas[-1] if alphas else None,
            gcps=bool(dataset.gcps[0]),
            rule=_rule_word(dataset),
            beside=_names_nodata_beside(href),
            laid_out=dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG",
            wavelets=dataset.driver.startswith("JP2"),
            rpcs=found is None and bool(dataset.tags(ns="RPC")),
            array=dataset.driver == "Zarr",
        )

    def refusal(self, asset: BandAsset) -> str | None:
        """The reason why the asset's band cannot be read from this file however often it is tried, or None."""
        if not 1 <= asset.index <= len(self.dtypes):
            return f"the file has {len(self.dtypes)} bands and no band {asset.index}"
        place, numbers = self.refused_place(), self._refused_numbers(asset)
        return place or numbers or self._refused_name(asset) or self._refused_alpha(asset)

    def refused_place(self) -> str | None:
        """The reason why the file has no place on the Earth, or None."""
        if not self.crs and (self.gcps or self.rpcs):
            given = "ground control points" if self.gcps else "rational polynomials (RPC)"
            return (
                f"the file has {given} and no CRS: take a terrain-corrected collection such as sentinel-1-rtc, or warp "
                "the file first"
            )
        if not self.crs:
            return f"the file has no CRS: {NO_CRS_IN_STORE if self.array else NO_CRS_IN_FILE}"
        if not self.located:
            return "the file's CRS is neither projected nor geographic, so it has no place on the Earth"
        if self.transform.is_identity or self.transform.is_degenerate:
            return "the file has a CRS and no geotransform, so it has no place on the Earth"
        return no_place(self.crs, self.shape, tuple(self.transform[:6]))

    def _refused_numbers(self, asset: BandAsset) -> str | None:
        dtype = self.dtypes[asset.index - 1]
        if dtype.startswith("complex"):
            return f"band {asset.index} holds complex numbers ({dtype}): give a file of amplitude or power"
        file, stated = np.dtype(dtype), np.dtype(asset.dtype)
        numbers = f"scale {asset.scale:g} and offset {asset.offset:g} are for {asset.dtype}, and band {asset.index} of"
        remedy = f"state dtype: {dtype} with scale and offset in the source's bands"
        scaled = (asset.scale, asset.offset) != (1.0, 0.0)
        if asset.unit != "reflectance" or asset.calibration in {"none", "header"}:
            return None
        if file.kind == "f":
            meant = f"{numbers} the file holds {dtype}: {remedy}, scale 1 where it is reflectance already"
            return meant if scaled and stated.kind != "f" else None
        if stated.kind == "f" and not scaled:
            return f"{numbers} the file holds {dtype}, whose whole numbers are no reflectance: {remedy}"
        most = float(np.iinfo(file).max) * asset.scale + asset.offset
        if file != stated and most < LEAST_BRIGHT:
            return f"{numbers} the file holds {dtype}, whose reflectance is {most:g} at most: {remedy}"
        return None

    def _refused_name(self, asset: BandAsset) -> str | None:
        """The reason why the band is another one, where the file says by name that its bands are in another order."""
        names = [text.strip().lower() for text in self.descriptions]
        stated = [asset.band, *asset.band_names[asset.index - 1 : asset.index]]
        wanted = {name.strip().lower() for name in stated if name}
        places = [number for number, name in enumerate(names, 1) if name in wanted]
        own = names[asset.index - 1]
        if len(places) != 1 or places[0] == asset.index or not own or NO_NAME.fullmatch(own):
            return None
        return (
            f"the item takes band {asset.index} of the file for {asset.band}, and the file calls that one {own} and "
            f"its band {places[0]} {names[places[0] - 1]}: state its index in the source's bands, or mend the names"
        )

    def contradiction(self, asset: BandAsset) -> str | None:
        """The reason why scale and offset, as the plan took them from item or other files, are not the file's."""
        found, taken = self.calibration(asset.index), (asset.scale, asset.offset)
        says = f"the header says scale {found[0]:g} and offset {found[1]:g}, and the"
        if asset.calibration in {"none", "header"} and found != taken:
            return (
                f"{says} plan took those of other files, {taken[0]:g} and {taken[1]:g}: state scale and offset in the "
                "item or the source"
            )
        alike = all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(found, taken, strict=True))
        dtype, scaled = self.dtypes[asset.index - 1], asset.calibration == "item" and taken != (1.0, 0.0)
        if scaled and np.dtype(dtype).kind == "f" and np.dtype(asset.dtype).kind in "iu":
            numbers = f"scale {taken[0]:g} and offset {taken[1]:g} are for {asset.dtype}, and the file holds {dtype}"
            return f"{numbers}, which may be physical already: state dtype, scale and offset in the source's bands"
        if asset.calibration == "item" and found != (1.0, 0.0) and not alike:
            return f"{says} item {taken[0]:g} and {taken[1]:g}: state scale and offset in the source's bands"
        return None

    def misplaced(self, asset: BandAsset) -> str | None:
        """The reason why blocks may lack the file, which reaches beyond the item's place for it, or None."""
        if not asset.crs or asset.shape is None or asset.transform is None:
            return None
        reach = beyond((self.crs, self.shape, tuple(self.transform[:6])), (asset.crs, asset.shape, asset.transform[:6]))
        if reach == 0:
            return None
        return (
            f"the file reaches {reach:.3g} of its pixels beyond the place that the item states for it (proj: fields), "
            "where no block reads it: mend these fields, or leave them away"
        )

    def _refused_alpha(self, asset: BandAsset) -> str | None:
        if self.alpha is None or self.alpha == asset.index or self.alpha_is_one(asset) is not None:
            return None
        return (
            f"the file calls its band {self.alpha} alpha, and nothing says whether it is: name that band in the item "
            "or the source's bands, or write alpha: true (transparency) or alpha: false (a measurement) in the source"
        )

    def alpha_is_one(self, asset: BandAsset) -> bool | None:
        """True if the band that the file calls alpha is one, False if it is a measurement, None if nothing says so.

        The source decides, then a name of that band in item or source, then its description in the file; then it is
        one if every other band is named.
        """
        if self.alpha is None:
            return False
        if asset.alpha is not None:
            return asset.alpha
        names = [*asset.band_names, *[""] * len(self.dtypes)][: len(self.dtypes)]
        names[asset.index - 1] = names[asset.index - 1] or asset.band
        description = self.descriptions[self.alpha - 1].strip().lower()
        for name in (names[self.alpha - 1].strip().lower(), description):
            if name and not NO_NAME.fullmatch(name):
                return name in ALPHA_NAMES
        others = [name for number, name in enumerate(names, 1) if number != self.alpha]
        return True if others and all(others) else None

    def calibration(self, index: int) -> tuple[float, float]:
        """(scale, offset) of a band from 1 as the header states them, (1, 0) without."""
        return float(self.scales[index - 1]), float(self.offsets[index - 1])

    def signs(self, asset: BandAsset) -> MissingSigns:
        """The signs by which pixels of the asset's band are missing: the item's, the source's and the file's own."""
        index, dtype = asset.index, np.dtype(self.dtypes[asset.index - 1])
        stated = (asset.nodata, *asset.more_nodata, self.nodata[index - 1])
        held = (held_marker(number, dtype) for number in stated)
        markers = [number for number in held if number is not None]
        if (
            not markers
            and not _explained(stated, dtype)
            and (usual := held_marker(asset.usual_nodata, dtype)) is not None
        ):
            markers = [usual]
        if asset.zero_is_value:
            markers = [number for number in markers if number != 0]
        alpha = self.alpha if self.alpha != index and self.alpha_is_one(asset) else None
        return MissingSigns(
            dtype=dtype, markers=tuple(dict.fromkeys(markers)), mask=self.masked[index - 1], alpha=alpha
        )


def _explained(stated: Iterable[float | None], dtype: np.dtype) -> bool:
    """True if NaN is among the stated markers of a file of floats: it needs no number beside it."""
    return dtype.kind == "f" and any(number is not None and np.isnan(number) for number in stated)


def _rule_word(dataset: Any) -> str:
    """The word of an open overview on how it was made, else that of its file, in upper case; empty without one."""
    own = dataset.tags(1).get("RESAMPLING") if dataset.count else None
    of_file = {**dataset.tags(), **dataset.tags(ns="IMAGE_STRUCTURE")}
    return str(own or next((of_file[name] for name in FILE_WORDS if of_file.get(name)), "")).upper()


def _names_nodata_beside(href: str) -> bool:
    """True if the `.aux.xml` beside a local file names a nodata value, which its overviews may not know."""
    if "://" in href:
        return False
    try:
        return b"<NoDataValue" in Path(f"{href}.aux.xml").read_bytes()
    except OSError:
        return False
