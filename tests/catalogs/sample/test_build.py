"""The embedded sample: complete, faithful to the providers' habits, and true to its own truth."""

from __future__ import annotations

import hashlib
import json
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pystac
import pytest
import rasterio
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sample.build import (
    SAMPLE_AREA,
    SAMPLE_CHANGE_AFTER,
    SAMPLE_CHANGE_BEFORE,
    SAMPLE_WATER_PERIOD,
    build_sample,
)
from tilewright.catalogs.sample.calendar import sun_position
from tilewright.catalogs.sample.jobs import _unclaimed, build_tasks
from tilewright.catalogs.sample.landscape.landscape import build_landscape
from tilewright.catalogs.sample.optical import digital_numbers

BANDS = ("blue", "green", "red", "nir")
MASKED = (0, 1, 3, 8, 9, 10)


@pytest.fixture(scope="session")
def folder(sample: Path) -> Path:
    """Folder of the sample."""
    return sample


@pytest.fixture(scope="session")
def scenes(folder: Path) -> list[pystac.Item]:
    collection = pystac.Collection.from_file(str(folder / "sentinel-2-l2a" / "collection.json"))
    return sorted(collection.get_items(), key=lambda item: item.id)


def read(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    with rasterio.open(folder / "truth" / f"{name}.tif") as file:
        return file.read(1)


def carries_offset(item: pystac.Item) -> bool:
    return item.properties["s2:processing_baseline"] >= "04.00" and not item.properties.get(
        "earthsearch:boa_offset_applied"
    )


def reflectance(item: pystac.Item, band: str) -> npt.NDArray[np.float32]:
    """Clear reflectance (y, x) at 10 m, NaN where there is none."""
    with rasterio.open(item.assets["scl"].get_absolute_href()) as file:
        clear = ~np.isin(file.read(1), MASKED).repeat(2, 0).repeat(2, 1)
    with rasterio.open(item.assets[band].get_absolute_href()) as file:
        numbers = file.read(1).astype(np.float32)
    values = (numbers - (1000 if carries_offset(item) else 0)) / 10_000
    return np.where(clear & (numbers > 0), values, np.float32(np.nan))


def medians(scenes: list[pystac.Item], period: str, bands: tuple[str, ...]) -> dict[str, npt.NDArray[np.float32]]:
    """Median clear reflectance per band over the period on the union grid; the newest delivery of a scene counts."""
    start, end = period.split("/")
    newest = {item.id.rsplit("_", 2)[0]: item for item in scenes if start <= item.datetime.date().isoformat() <= end}
    days = sorted({item.datetime.date() for item in newest.values()})
    found = {}
    for band in bands:
        stack = np.full((len(days), 1098, 2094), np.nan, dtype=np.float32)
        for item in newest.values():
            column = 0 if "33UVP" in item.id else 996
            part = stack[days.index(item.datetime.date()), :, column : column + 1098]
            np.copyto(part, values := reflectance(item, band), where=np.isfinite(values))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # pixels that no day shows
            found[band] = np.nanmedian(stack, axis=0)
    return found


def test_second_call_reuses_what_is_there(folder: Path) -> None:
    before = (folder / "catalog.json").stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    assert build_sample(folder, progress=lambda done, tasks: calls.append((done, tasks))) == folder / "catalog.json"
    assert (folder / "catalog.json").stat().st_mtime_ns == before
    assert calls == []


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CatalogError, match="not a sample; give an empty or a new folder"):
        build_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_is_left_next_to_the_folder(folder: Path) -> None:
    assert not list(folder.parent.glob(f".{folder.name}-*"))


def test_two_processes_share_every_task_once(tmp_path: Path) -> None:
    (tmp_path / "claims").mkdir()
    mine, yours = _unclaimed(tmp_path), _unclaimed(tmp_path)
    shared = [next(mine).name, next(yours).name, *(task.name for task in mine), *(task.name for task in yours)]
    assert sorted(shared) == sorted(task.name for task in build_tasks())
    assert len(set(shared)) == len(shared)


def test_the_same_seed_gives_the_same_landscape(folder: Path) -> None:
    landscape = build_landscape(7)
    assert np.array_equal(landscape.cover(end=True), read(folder, "landcover_end"))
    assert np.array_equal(landscape.change(), read(folder, "change"))


def test_every_link_and_href_is_relative_and_leads_to_a_file(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        text = json.loads(path.read_text())
        hrefs = [link["href"] for link in text.get("links", [])]
        hrefs += [asset["href"] for asset in text.get("assets", {}).values()]
        for href in hrefs:
            assert href.startswith("."), (path.name, href)
            assert (path.parent / href).is_file(), (path.name, href)


def test_everything_is_called_simulated(folder: Path, scenes: list[pystac.Item]) -> None:
    for path in [folder / "catalog.json", *folder.glob("*/collection.json")]:
        assert "SIMULATED" in json.loads(path.read_text())["description"]
    assert all(item.properties["tw:simulated"] is True for item in scenes)


def test_checksum_and_size_are_the_files(scenes: list[pystac.Item]) -> None:
    for asset in scenes[0].assets.values():
        content = Path(asset.get_absolute_href()).read_bytes()
        assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
        assert asset.extra_fields["file:size"] == len(content)


def test_files_lie_where_their_items_say(folder: Path) -> None:
    for path in folder.glob("*/*/*.json"):
        for asset in pystac.Item.from_file(str(path)).assets.values():
            with rasterio.open(asset.get_absolute_href()) as file:
                assert list(file.shape) == asset.extra_fields["proj:shape"]
                assert list(file.transform)[:6] == asset.extra_fields["proj:transform"]
                assert file.crs.to_epsg() == 32633
                band = asset.extra_fields["raster:bands"][0]
                assert (file.dtypes[0], file.nodata) == (band["data_type"], band.get("nodata"))


def test_rasters_are_strict_cogs_with_overviews(folder: Path, scenes: list[pystac.Item]) -> None:
    paths = [asset.get_absolute_href() for asset in scenes[0].assets.values()]
    paths += [next(folder.glob("sentinel-1-rtc/*/vv.rtc.tiff")), next(folder.glob("cop-dem-glo-30/*/*.tif"))]
    paths += list((folder / "truth").glob("*.tif"))
    for path in paths:
        valid, errors, warnings = cog_validate(path, strict=True)
        assert valid, (path, errors, warnings)
        with rasterio.open(path) as file:
            assert file.overviews(1)


def test_two_granules_overlap_by_a_kilometre_on_one_pixel_lattice(scenes: list[pystac.Item]) -> None:
    west = {item.id.split("_")[1]: item.assets["red"].extra_fields["proj:transform"][2] for item in scenes}
    assert sorted(west) == ["33UVP", "33UWP"]
    assert west["33UVP"] + 10_980 - west["33UWP"] == 1020
    assert all(edge % 60 == 0 for edge in west.values())


def test_both_granules_show_the_same_ground_where_they_overlap(scenes: list[pystac.Item]) -> None:
    pair = [item for item in scenes if "20220617_0" in item.id]
    left, right = (rasterio.open(item.assets["red"].get_absolute_href()).read(1) for item in pair)
    assert np.array_equal(left[:, 996:], right[:, :102])


def test_cloud_cover_counts_the_scene_classes(scenes: list[pystac.Item]) -> None:
    clear: dict[str, int] = {}
    for item in scenes:
        with rasterio.open(item.assets["scl"].get_absolute_href()) as file:
            classes = file.read(1)
        share = 100 * np.isin(classes, (8, 9, 10)).sum() / (classes > 0).sum()
        assert item.properties["eo:cloud_cover"] == pytest.approx(share, abs=1e-4)
        clear[item.id.split("_")[1]] = clear.get(item.id.split("_")[1], 0) + bool(share < 5)
    assert all(count >= 2 for count in clear.values())
    assert max(item.properties["eo:cloud_cover"] for item in scenes) > 50


def test_offset_is_in_the_numbers_exactly_where_baseline_and_flag_say_so(scenes: list[pystac.Item]) -> None:
    kinds = set()
    for item in scenes:
        with rasterio.open(item.assets["green"].get_absolute_href()) as file:
            numbers = file.read(1)
        dark = (numbers[numbers > 0] < 1000).mean()
        assert (dark < 1e-4) if carries_offset(item) else (dark > 0.05), item.id
        assert item.assets["green"].extra_fields["raster:bands"][0]["offset"] == -0.1
        kinds.add((item.properties["s2:processing_baseline"] >= "04.00", carries_offset(item)))
    assert kinds == {(False, False), (True, True), (True, False)}


def test_some_scenes_came_twice_with_a_newer_baseline(scenes: list[pystac.Item]) -> None:
    again = [item for item in scenes if item.id.endswith("_1_L2A")]
    assert len(again) == 2
    for item in again:
        first = next(one for one in scenes if one.id == item.id.replace("_1_L2A", "_0_L2A"))
        assert first.datetime == item.datetime
        assert first.properties["s2:processing_baseline"] < item.properties["s2:processing_baseline"]


def test_a_swath_ends_inside_one_granule_and_the_footprint_says_so(scenes: list[pystac.Item]) -> None:
    item = next(one for one in scenes if one.id == "S2A_33UVP_20210629_0_L2A")
    with rasterio.open(item.assets["red"].get_absolute_href()) as file:
        empty = file.read(1) == 0
    assert empty[0, 0]
    assert not empty[:, -100:].any()
    assert 20 < item.properties["s2:nodata_pixel_percentage"] == pytest.approx(100 * empty.mean(), abs=0.01)
    whole = next(one for one in scenes if one.id == "S2A_33UVP_20220617_0_L2A")
    assert item.bbox[0] > whole.bbox[0] + 0.01


def test_radar_has_speckle_of_its_looks_on_two_orbits(folder: Path) -> None:
    items = [pystac.Item.from_file(str(path)) for path in folder.glob("sentinel-1-rtc/*/*.json")]
    assert len(items) >= 6
    assert {(item.properties["sat:orbit_state"], item.properties["sat:relative_orbit"]) for item in items} == {
        ("ascending", 73),
        ("descending", 22),
    }
    with rasterio.open(items[0].assets["vv"].get_absolute_href()) as file:
        power = file.read(1)
    water = power[(read(folder, "landcover_start") == 1) & (power > 0)]
    assert 10 * np.log10(water.mean()) == pytest.approx(-19.5, abs=4)
    # Looks of 4.4 on a surface that is itself nearly even: mean squared over variance.
    assert water.mean() ** 2 / water.var() == pytest.approx(4.4, rel=0.1)


def test_truth_holds_a_large_reservoir_clear_cuts_and_houses(folder: Path) -> None:
    change, start, end = (read(folder, name) for name in ("change", "landcover_start", "landcover_end"))
    rows, columns = np.nonzero(change == 1)
    assert max(np.ptp(rows), np.ptp(columns)) >= 300
    assert (change == 2).sum() >= 5 * 500
    assert (change == 3).sum() >= 500
    assert (end[change == 1] == 1).all()
    assert np.isin(start[change == 2], (2, 3)).all()
    assert (start[change == 0] == end[change == 0]).mean() > 0.998
    table = json.loads((folder / "truth" / "classes.json").read_text())
    assert set(np.unique(end)) <= {entry["value"] for entry in table["landcover"]}
    assert table["change_date"] == "2022-04-01"


def test_sample_area_spans_both_granules_and_all_three_changes(folder: Path) -> None:
    minx, miny, maxx, maxy = transform_bounds("EPSG:4326", "EPSG:32633", *SAMPLE_AREA)
    assert 490_020 < minx < 499_980
    assert 501_000 < maxx < 510_960
    assert 5_389_020 < miny < maxy < 5_400_000
    rows = slice(int((5_400_000 - maxy) / 10), int((5_400_000 - miny) / 10))
    columns = slice(int((minx - 490_020) / 10), int((maxx - 490_020) / 10))
    counts = np.bincount(read(folder, "change")[rows, columns].ravel(), minlength=4)
    assert (counts[1:] > (30_000, 2000, 500)).all()


def test_water_by_ndwi_agrees_with_the_truth(folder: Path, scenes: list[pystac.Item]) -> None:
    seen = medians(scenes, SAMPLE_WATER_PERIOD, ("green", "nir"))
    index = (seen["green"] - seen["nir"]) / (seen["green"] + seen["nir"])
    clear = np.isfinite(index)
    found, truth = (index > 0)[clear], (read(folder, "landcover_end") == 1)[clear]
    assert clear.mean() > 0.99
    assert (found & truth).sum() / (found | truth).sum() >= 0.95


def test_change_vectors_tell_the_changes_from_the_fields(folder: Path, scenes: list[pystac.Item]) -> None:
    before, after = (medians(scenes, p, BANDS) for p in (SAMPLE_CHANGE_BEFORE, SAMPLE_CHANGE_AFTER))
    size = np.sqrt(sum(np.square(after[band] - before[band]) for band in BANDS))
    change, start = read(folder, "change"), read(folder, "landcover_start")
    for threshold in (0.10, 0.12, 0.15):
        assert (size[change == 1] > threshold).mean() >= 0.95
        assert (size[change == 2] > threshold).mean() >= 0.95
    assert (size[change == 0] > 0.12).mean() < 0.01
    assert (size[(change == 0) & (start == 4)] > 0.10).mean() < 0.05


def test_numbers_are_zero_only_where_nothing_was_seen() -> None:
    seen = np.array([[True, True, False]])
    dark = np.array([[0.0, 0.25, 0.25]], dtype=np.float32)
    assert digital_numbers(dark, seen, offset=False).tolist() == [[1, 2500, 0]]
    assert digital_numbers(dark, seen, offset=True).tolist() == [[1000, 3500, 0]]


def test_sun_is_high_in_the_south_east_on_a_june_morning() -> None:
    elevation, azimuth = sun_position(datetime(2021, 6, 17, 10, 6, tzinfo=UTC))
    # By hand: declination 23.4 degrees, hour angle -13.7 degrees, latitude 48.7 degrees.
    assert elevation == pytest.approx(62.5, abs=0.5)
    assert azimuth == pytest.approx(151.9, abs=1)


def test_shadows_fall_away_from_the_sun(scenes: list[pystac.Item]) -> None:
    item = next(one for one in scenes if one.id == "S2B_33UWP_20220629_1_L2A")
    with rasterio.open(item.assets["scl"].get_absolute_href()) as file:
        classes = file.read(1)
    cloud, shadow = np.isin(classes, (8, 9)), classes == 3
    # The sun is in the south-east: shadows lie to the north-west of their clouds.
    shift = {step: (np.roll(cloud, step, axis=(0, 1)) & shadow).sum() for step in ((-24, -16), (24, 16))}
    assert shift[-24, -16] > 2 * shift[24, 16]
