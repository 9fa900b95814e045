"""What is wrong with a file's header is said while planning, before any pixel is read."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from tests.support.file_server import serve
from tests.support.scenes import LEFT, TOP, asset_of, scene_of, write_raster
from tilewright.catalogs.scene import Scene
from tilewright.catalogs.sources.source import Source, Sources
from tilewright.flows.job.job import JobError
from tilewright.flows.plan.headers import look_at_headers
from tilewright.flows.plan.scenes import InputScenes

HOME = Source(name="home", kind="files", href="/data/files")


@dataclass(frozen=True)
class Spec:
    """The part of a card's input that a look needs."""

    name: str = "x"
    source_bands: tuple[str, ...] = ("red",)
    optional: bool = False


@dataclass(frozen=True)
class Card:
    inputs: tuple[Spec, ...] = (Spec(),)


def look(*scenes: Scene, card: Card | None = None) -> tuple[tuple[Scene, ...], tuple[str, ...]]:
    card = card or Card()
    found = InputScenes(scenes=scenes, touching=scenes)
    seen, said = look_at_headers(card, {spec.name: found for spec in card.inputs}, Sources.one(HOME))  # type: ignore[arg-type]
    return seen[card.inputs[0].name].scenes, said


def good(folder: Path, name: str = "good", **changes: Any) -> Scene:
    path = write_raster(folder / f"{name}.tif", np.ones((20, 20), np.uint16))
    asset = asset_of(path)
    return replace(scene_of(asset, name=name), assets=(replace(asset, **changes),))


def control_points(path: Path) -> None:
    points = [GroundControlPoint(row, col, 15 + col / 1000, 48 - row / 1000) for row in (0, 20) for col in (0, 20)]
    with rasterio.open(
        path, "w", driver="GTiff", width=20, height=20, count=1, dtype="uint16", gcps=points, crs="EPSG:4326"
    ) as file:
        file.write(np.ones((20, 20), np.uint16), 1)


def no_crs(path: Path) -> None:
    plain(path, crs=None, transform=Affine(10, 0, LEFT, 0, -10, TOP))


def no_geotransform(path: Path) -> None:
    plain(path, crs="EPSG:32633")


def local_crs(path: Path) -> None:
    plain(path, crs='LOCAL_CS["the yard",UNIT["metre",1]]', transform=Affine(10, 0, LEFT, 0, -10, TOP))


def complex_numbers(path: Path) -> None:
    plain(path, dtype="complex64", crs="EPSG:32633", transform=Affine(10, 0, LEFT, 0, -10, TOP))


def alpha_of_nobody(path: Path) -> None:
    plain(path, count=4, dtype="uint8", crs="EPSG:32633", transform=Affine(10, 0, LEFT, 0, -10, TOP))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)


def text(path: Path) -> None:
    path.write_text("no picture")


def nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


def plain(path: Path, *, count: int = 1, dtype: str = "uint16", **profile: Any) -> None:
    with rasterio.open(path, "w", driver="GTiff", width=20, height=20, count=count, dtype=dtype, **profile) as file:
        file.write(np.ones((count, 20, 20), dtype))


FAULTS = {
    control_points: "ground control points and no CRS: take a terrain-corrected collection",
    no_crs: "has no CRS: write one into it",
    no_geotransform: "no geotransform",
    local_crs: "neither projected nor geographic",
    complex_numbers: "holds complex numbers",
    alpha_of_nobody: "calls its band 4 alpha",
    text: "not recognized as being in a supported file format",
    nothing: "No such file",
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_every_file_is_refused_at_once_and_of_some_is_said(tmp_path: Path, fault: Any) -> None:
    bad = good(tmp_path, "bad")
    path = Path(bad.assets[0].href)
    path.unlink()
    fault(path)
    began = time.monotonic()
    with pytest.raises(JobError, match=FAULTS[fault]) as refused:
        look(bad)
    assert "band red of item bad" in str(refused.value)
    _, said = look(good(tmp_path), bad)
    assert len(said) == 1
    assert "1 of 2 files looked at" in said[0]
    _, said = look(bad, card=Card(inputs=(Spec(optional=True),)))
    assert len(said) == 1
    assert time.monotonic() - began < 5


def test_a_band_beyond_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="has 1 bands and no band 3"):
        look(good(tmp_path, index=3))


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"nodata": -9999.0}, "states nodata -9999, which uint16 cannot hold: it marks nothing"),
        ({"nodata": 0.0, "more_nodata": (70_000.0,)}, "states nodata 70000, which uint16 cannot hold"),
        ({"nodata": float("nan")}, "states nodata nan, which uint16 cannot hold"),
        ({"dtype": "int16"}, "has int16 for data type, its file uint16"),
        ({"crs": "EPSG:32632"}, "states another place than its file"),
        ({"crs": "EPSG:None"}, "states another place than its file"),
        ({"crs": "EPSG:9999999"}, "states another place than its file"),
        ({"shape": (20, 40)}, "states another place than its file"),
        ({"transform": (10.0, 0.0, LEFT + 500, 0.0, -10.0, TOP)}, "states another place than its file"),
        ({"transform": (20.0, 0.0, LEFT, 0.0, -20.0, TOP), "shape": (10, 10)}, None),
        ({"crs": "", "shape": None, "transform": None}, None),
        ({"nodata": 65_535.0}, None),
    ],
)
def test_what_item_and_file_say_differently_is_said(tmp_path: Path, stated: dict[str, Any], words: str | None) -> None:
    scenes, said = look(good(tmp_path, **stated))
    assert len(said) == (words is not None)
    if words is not None:
        assert words in said[0]
        assert "Input x, band red: item good " in said[0]
    if words is not None and "place" in words:
        asset = scenes[0].assets[0]
        assert (asset.crs, asset.shape, asset.transform) == ("", None, None)


def calibrated(folder: Path, name: str, header: tuple[float, float], **changes: Any) -> Scene:
    scene = good(folder, name, **changes)
    with rasterio.open(scene.assets[0].href, "r+") as file:
        file.scales, file.offsets = header[:1], header[1:]
    return scene


def test_scale_and_offset_of_the_header_are_taken_where_nobody_states_any(tmp_path: Path) -> None:
    scenes, said = look(*(calibrated(tmp_path, f"n{n}", (0.5, -3.0), calibration="none") for n in range(5)))
    assert {(scene.assets[0].scale, scene.assets[0].offset) for scene in scenes} == {(0.5, -3.0)}
    assert not said
    again = Scene.from_json(json.loads(json.dumps(scenes[0].to_json())))
    assert again == scenes[0]
    scenes, said = look(calibrated(tmp_path, "stated", (0.5, -3.0), scale=0.25))
    assert scenes[0].assets[0].scale == 0.25
    assert "the file scale 0.5 and offset -3, which are not used" in said[0]
    with pytest.raises(JobError, match="the headers of its files differ"):
        look(*(calibrated(tmp_path, f"d{n}", (0.5 + n, 0.0), calibration="none") for n in range(2)))


@pytest.mark.parametrize(("header", "kept"), [((0.5, -3.0), "stated"), ((0.25, 0.0), "item"), ((1.0, 0.0), "item")])
def test_headers_that_are_said_to_be_unused_are_not_refused_later(tmp_path: Path, header: Any, kept: str) -> None:
    scenes, said = look(*(calibrated(tmp_path, f"n{n}", header, scale=0.25, calibration="item") for n in range(5)))
    assert {(scene.assets[0].calibration, scene.assets[0].scale) for scene in scenes} == {(kept, 0.25)}
    assert len(said) == (kept == "stated")


@pytest.mark.parametrize(
    ("reason", "offset", "answer"),
    [
        ("earthsearch:boa_offset_applied is true", 0.0, None),
        ("baseline 03.01 < 04.00", 0.0, None),
        ("its bands advertise offset 0", 0.0, "scale 0.0001 and offset -0.1, which are not used"),
        ("its bands advertise offset -0.1", -0.1, None),
        ("has baseline 05.09 and no offset: taken as none", 0.0, JobError),
    ],
)
def test_an_offset_in_the_header_of_sentinel_2_is_told_unless_flag_or_baseline_say_better(
    tmp_path: Path, reason: str, offset: float, answer: Any
) -> None:
    numbers = {"scale": 0.0001, "offset": offset, "unit": "reflectance", "calibration": "stated"}
    scene = calibrated(tmp_path, "esa", (0.0001, -0.1), **numbers)
    scene = replace(scene, collection="sentinel-2-l2a", state_reason=reason)
    if answer is JobError:
        with pytest.raises(JobError, match=r"item esa says nothing of an offset.* its file says -0.1"):
            look(scene)
        return
    _, said = look(scene)
    assert [answer in each for each in said] == ([True] if answer else [])


@pytest.mark.parametrize(
    ("stated", "refused"),
    [
        ({"dtype": "uint16", "scale": 0.0001, "calibration": "stated"}, True),
        ({"dtype": "uint16", "scale": 0.0001, "calibration": "item"}, True),
        ({"dtype": "float32", "scale": 0.0001, "calibration": "stated"}, False),
        ({"dtype": "float32", "scale": 1.0, "calibration": "item"}, False),
        ({"dtype": "uint16", "scale": 1.0, "calibration": "none"}, False),
        ({"dtype": "uint16", "scale": 0.0001, "calibration": "stated", "unit": "1"}, False),
    ],
)
def test_reflectance_in_floats_is_scaled_only_where_somebody_says_that_they_are_floats(
    tmp_path: Path, stated: dict[str, Any], refused: bool
) -> None:
    path = write_raster(tmp_path / "floats.tif", np.full((20, 20), 0.3, np.float32))
    asset = replace(asset_of(path), **{"unit": "reflectance", "offset": 0.0, **stated})
    scene = scene_of(asset, name="floats")
    if not refused:
        look(scene)
        return
    with pytest.raises(JobError, match=r"for uint16, and band 1 of the file holds float32: state dtype: float32"):
        look(scene)


def test_no_more_than_the_first_middle_and_last_scene_are_looked_at(tmp_path: Path) -> None:
    scene = good(tmp_path)
    gone = [
        replace(scene, id=f"n{n}", assets=(replace(scene.assets[0], href=f"{tmp_path}/{n}.tif"),)) for n in range(9)
    ]
    scenes = [replace(scene, id=str(n)) for n in range(10_000)]
    began = time.monotonic()
    said = look(*gone, *scenes)[1]
    assert len(said) == 1
    assert "1 of 3 files looked at" in said[0]
    assert time.monotonic() - began < 3


def test_over_http_gone_is_final_and_trouble_is_not(tmp_path: Path) -> None:
    scene = good(tmp_path)
    for fault, final in (("404", True), ("500", False)):
        with serve(tmp_path, lambda number, fault=fault: fault) as server:
            remote = replace(scene, assets=(replace(scene.assets[0], href=server.href("good.tif")),))
            if final:
                with pytest.raises(JobError, match="answers 404"):
                    look(remote)
            else:
                assert "1 of 1 file looked at cannot be read" in look(remote)[1][0]


def test_beside_a_remote_file_nothing_is_looked_for(tmp_path: Path) -> None:
    scene = good(tmp_path)
    (tmp_path / "good.tif.aux.xml").write_text("<PAMDataset/>")
    with serve(tmp_path) as server:
        assert not look(replace(scene, assets=(replace(scene.assets[0], href=server.href("good.tif")),)))[1]
        assert {request.rpartition("/")[2] for request in server.requests} == {"good.tif"}
