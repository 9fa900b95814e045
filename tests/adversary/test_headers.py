"""Files that no plan looked at, whose headers are not what their items say: read as they are, or refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.rpc import RPC
from shapely.geometry import box, mapping

from tests.support.scenes import LEFT, TOP, UTM, asset_of, grid, scene_of
from tilewright.tasks.cube.scene_band import BandRequest, read_values
from tilewright.tasks.read.access import Access
from tilewright.tasks.read.failures import ReadError

SIDE = 20
NUMBERS = np.arange(1000, 1000 + SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
"""A number of its own for each pixel."""

HERE = Affine(10, 0, LEFT, 0, -10, TOP)
FOOT = 1200 / 3937
"""Metres in a foot of the American survey."""

UTM_TEXT = "+proj=utm +zone=33 +datum=WGS84"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file, and what its item says of it that is not what an honest one would say of an honest file.

    `reads`: the physical values that are to come out as a factor and a summand of `NUMBERS`; None: it is refused, with
    all of `words`. `header` holds scale and offset.
    """

    values: np.ndarray = field(default_factory=lambda: NUMBERS)
    crs: Any = UTM
    transform: Affine = HERE
    tags: dict[str, str] = field(default_factory=dict)
    header: tuple[float, float] = (1.0, 0.0)
    names: tuple[str, ...] = ()
    bands: int = 1
    nodata: float | None = None
    overviews: tuple[int, ...] = ()
    points: str = ""
    stated: dict[str, Any] = field(default_factory=dict)
    reads: tuple[float, float] | None = None
    words: tuple[str, ...] = ()


def physical(scale: float, offset: float, **stated: Any) -> dict[str, Any]:
    return {"scale": scale, "offset": offset, "calibration": "item", **stated}


def refused(*words: str, **case: Any) -> Case:
    return Case(words=words, **case)


RAW, SCALED = (1.0, 0.0), (0.0001, -0.1)
PLACE = ("beyond the place that the item states",)
AS_IT_IS = {
    "an honest file": Case(),
    "rows from south to north": Case(values=NUMBERS[::-1], transform=Affine(10, 0, LEFT, 0, 10, TOP - 200)),
    "columns from east to west": Case(values=NUMBERS[:, ::-1], transform=Affine(-10, 0, LEFT + 200, 0, -10, TOP)),
    "rows that are columns": Case(values=NUMBERS.T, transform=Affine(0, 10, LEFT, -10, 0, TOP)),
    "pixels that are points": Case(tags={"AREA_OR_POINT": "Point"}),
    "feet": Case(
        crs=f"{UTM_TEXT} +units=us-ft",
        transform=Affine.scale(1 / FOOT) * HERE,
        stated={"crs": UTM, "transform": tuple(HERE[:6])},
    ),
    "a CRS without an authority": Case(crs=rasterio.crs.CRS.from_proj4(f"{UTM_TEXT} +units=m")),
    "a CRS with heights": Case(crs="EPSG:32633+5773", stated={"crs": UTM}),
    "a datum some centimetres away": Case(crs="EPSG:25833", stated={"crs": UTM}),
    "overviews twice": Case(overviews=(2, 2, 4)),
    "another type of whole numbers": Case(
        values=NUMBERS.astype(np.int32), stated=physical(*SCALED, unit="reflectance"), reads=SCALED
    ),
    "doubles for floats": Case(values=NUMBERS.astype(np.float64), stated={"dtype": "float32"}),
    "a header that says what the item says": Case(header=SCALED, stated=physical(*SCALED), reads=SCALED),
    "the same, rounded": Case(
        header=(float(np.float32(0.0001)), float(np.float32(-0.1))), stated=physical(*SCALED), reads=SCALED
    ),
    "a header that says nothing": Case(stated=physical(*SCALED), reads=SCALED),
    "scale of the source against the header": Case(
        header=(0.5, 3.0), stated={"scale": 0.0001, "offset": -0.1, "calibration": "stated"}, reads=SCALED
    ),
    "scale in the header of classes": Case(header=(0.5, 3.0), stated={"unit": "class", "dtype": "uint16"}),
    "classes of more bits than stated": Case(stated={"unit": "class", "dtype": "uint8"}),
    "a nodata that the type does not hold": Case(stated={"nodata": -9999.0}),
    "a file within the place stated": Case(stated={"shape": (40, 40)}),
    "another zone, where the footprint is not": Case(stated={"crs": "EPSG:32632"}),
    "a place in the order of GDAL": Case(stated={"transform": None}),
    "a place without a shape": Case(stated={"shape": None, "transform": (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)}),
    "names as stated": Case(names=("red", "nir"), bands=2, stated={"band_names": ("red", "nir")}),
    "names that only count": Case(names=("Band 1", "red"), bands=2, stated={"band_names": ("red", "nir")}),
    "names of another language": Case(names=("rot", "gruen"), bands=2, stated={"band_names": ("red", "green")}),
    "a name twice": Case(names=("red", "red"), bands=2),
}
REFUSED = {
    "scale of the item against the header": refused(
        "scale 0.5 and offset 3", "0.0001 and -0.1", header=(0.5, 3.0), stated=physical(*SCALED)
    ),
    "only an offset in the header": refused(
        "scale 1 and offset 3", "0.0001 and 0", header=(1.0, 3.0), stated=physical(0.0001, 0.0)
    ),
    "only another offset": refused("offset 0", "-0.1", header=(0.0001, 0.0), stated=physical(*SCALED)),
    "the sign of the offset": refused("offset 0.1", "-0.1", header=(0.0001, 0.1), stated=physical(*SCALED)),
    "scale in the header where other files have none": refused(
        "scale 0.5", "1 and 0", header=(0.5, 0.0), stated={"calibration": "header"}
    ),
    "no scale in the header where other files have one": refused(
        "scale 1 and offset 0", "0.5 and 0", stated={"calibration": "header", "scale": 0.5}
    ),
    "scale in the header, nobody looked": refused(
        "scale 0.5", "1 and 0", header=(0.5, 0.0), stated={"calibration": "none"}
    ),
    "floats for scaled whole numbers": refused(
        "for uint16", "holds float32", values=NUMBERS.astype(np.float32), stated=physical(*SCALED, dtype="uint16")
    ),
    "whole numbers for reflectance": refused(
        "for float32", "holds uint16", stated=physical(*RAW, dtype="float32", unit="reflectance")
    ),
    "bytes for words": refused(
        "for uint16", "holds uint8", values=(NUMBERS % 256).astype(np.uint8),
        stated=physical(0.0001, 0.0, dtype="uint16", unit="reflectance"),
    ),
    "bands the other way round": refused(
        "band 1 of the file for red", "calls that one nir and its band 2 red", names=("nir", "red"), bands=2
    ),
    "the same by names of the item": refused(
        "calls that one B8 and its band 2 B4".lower(), names=("B8", "B4"), bands=2, stated={"band_names": ("B4", "B8")}
    ),
    "a band beyond the file": refused("1 bands and no band 3", stated={"index": 3}),
    "a place a kilometre away": refused(*PLACE, stated={"transform": (10.0, 0.0, LEFT + 1000, 0.0, -10.0, TOP)}),
    "a place three pixels away": refused(
        "reaches 3 of its pixels", *PLACE, stated={"transform": (10.0, 0.0, LEFT + 30, 0.0, -10.0, TOP)}
    ),
    "the transform of finer pixels": refused(*PLACE, stated={"transform": (5.0, 0.0, LEFT, 0.0, -5.0, TOP)}),
    "the shape of coarser pixels": refused(*PLACE, stated={"shape": (10, 10)}),
    "width for height": refused(
        *PLACE, values=np.tile(NUMBERS, (1, 2)), stated={"shape": (40, 20), "transform": tuple(HERE[:6])}
    ),
    "another datum": refused(*PLACE, crs="EPSG:2398", stated={"crs": "EPSG:32633"}),
    "no CRS": refused("has no CRS", crs=None, stated={"crs": UTM}),
    "control points": refused("ground control points", points="gcps"),
    "polynomials": refused("rational polynomials", points="rpcs"),
    "a geotransform without a number": refused("not finite", transform=Affine(10, 0, np.nan, 0, -10, TOP)),
    "a pixel size without a number": refused("not finite", transform=Affine(10, 0, LEFT, 0, np.nan, TOP)),
    "a geotransform without an end": refused("not finite", transform=Affine(10, 0, LEFT, 0, -10, np.inf)),
    "pixels of no size": refused("no geotransform", transform=Affine(10, 0, LEFT, 0, 0, TOP)),
    "metres for degrees": refused("is in degrees", crs="EPSG:4326"),
    "degrees for metres": refused("as if its coordinates were degrees", transform=Affine(1e-4, 0, 15, 0, -1e-4, 48)),
}  # fmt: skip
CASES = AS_IT_IS | REFUSED


def write(path: Path, case: Case) -> Path:
    height, width = case.values.shape
    form: dict[str, Any] = {"crs": case.crs, "transform": case.transform}
    if case.points == "gcps":
        corners = [(row, col) for row in (0, SIDE) for col in (0, SIDE)]
        points = [GroundControlPoint(row, col, LEFT + 10 * col, TOP - 10 * row) for row, col in corners]
        form = {"gcps": points, "crs": UTM}
    elif case.points == "rpcs":
        one, none = [1.0, *[0.0] * 19], [0.0] * 20
        form = {"rpcs": RPC(0, 1, 48, 1, one, none, 0, 1, 15, 1, one, none, 0, 1)}
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=case.bands, dtype=case.values.dtype,
        nodata=case.nodata, **form,
    ) as file:  # fmt: skip
        for number in range(1, case.bands + 1):
            file.write(case.values + number - 1, number)
        file.scales, file.offsets = [case.header[0]] * case.bands, [case.header[1]] * case.bands
        file.update_tags(**case.tags)
        if case.names:
            file.descriptions = case.names
    if case.overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(case.overviews, Resampling.average)
    return path


def read(folder: Path, case: Case, **changes: Any) -> np.ndarray:
    """The values on the grid of the honest file. The footprint is the honest file's, or the one changed."""
    honest = asset_of(write(folder / "honest.tif", Case()), unit="1")
    scene = scene_of(honest, name="strange")
    outline = mapping(box(*scene.bbox))
    stated: dict[str, Any] = {"crs": "", "shape": None, "transform": None} if case.points else {}
    if set(case.stated) & {"crs", "shape", "transform"}:
        stated = {"crs": UTM, "shape": (SIDE, SIDE), "transform": tuple(HERE[:6])}
    stated |= {"dtype": str(case.values.dtype), **case.stated}
    asset = replace(honest, href=str(write(folder / "strange.tif", case)), **stated)
    scene = replace(scene, assets=(asset,), **{"geometry": outline, **changes})
    out = np.empty((SIDE, SIDE), np.float32)
    request = BandRequest(band="red", unit=asset.unit, resampling="nearest")
    assert read_values(scene, request, grid(SIDE, SIDE), Access(), out=out)
    return out


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_file_that_is_not_what_its_item_says_is_read_as_it_is_or_refused(tmp_path, name):
    case = CASES[name]
    if not case.words:
        scale, offset = case.reads or RAW
        np.testing.assert_allclose(read(tmp_path, case), NUMBERS * scale + offset, rtol=1e-6)
        return
    with pytest.raises(ReadError) as error:
        read(tmp_path, case)
    said = str(error.value)
    assert all(words in said for words in ("strange", "red", *case.words)), said


@pytest.mark.parametrize("side", [1, 2])
def test_a_file_of_a_pixel_has_its_place(tmp_path, side):
    case = Case(values=NUMBERS[:side, :side], transform=HERE * Affine.translation(7, 5))
    out = read(tmp_path, case)
    assert np.isfinite(out).sum() == side * side
    np.testing.assert_array_equal(out[5 : 5 + side, 7 : 7 + side], NUMBERS[:side, :side])


def test_a_place_that_contradicts_the_footprint_decides_nothing_and_is_left_alone(tmp_path):
    far = mapping(box(14.0, 48.0, 15.0, 49.0))
    case = REFUSED["the shape of coarser pixels"]
    np.testing.assert_array_equal(read(tmp_path, case, geometry=far), NUMBERS)
