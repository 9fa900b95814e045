"""The CRS of a Zarr array from the variables beside it, in both versions: as xarray and rioxarray leave them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr

from tests.support.file_server import serve, serve_elsewhere
from tests.support.scenes import UTM, asset_of, write_raster
from tests.tasks.read.test_zarr3 import NATIVE, ONE_TRY, numbers
from tilewright.tasks.read.gdal import read_header
from tilewright.tasks.read.reader import close_files, read_asset
from tilewright.tasks.read.retry import UnreadableError
from tilewright.tasks.read.zarr3.mapping import mapping_name, names_beside

VALUES = numbers("float32")


def dataset(name: str = "spatial_ref") -> xr.Dataset:
    height, width = VALUES.shape
    axes = {"y": 5_399_995 - 10.0 * np.arange(height), "x": 400_005 + 10.0 * np.arange(width)}
    red = xr.DataArray(VALUES, dims=("y", "x"), coords=axes)
    return xr.Dataset({"red": red}).rio.write_crs(UTM, grid_mapping_name=name)


def without_mapping(given: xr.Dataset) -> xr.Dataset:
    found = given.copy()
    for held in (found["red"].attrs, found["red"].encoding):
        held.pop("grid_mapping", None)
    return found


def told(store: Path, version: int, **attributes: Any) -> None:
    """Set attributes of `red`, as another program may; None removes one."""
    path = store / "red" / ("zarr.json" if version == 3 else ".zattrs")
    plain = json.loads(path.read_text())
    held = plain["attributes"] if version == 3 else plain
    held.update(attributes)
    for name in [name for name, value in held.items() if value is None]:
        del held[name]
    path.write_text(json.dumps(plain))


def write(given: xr.Dataset, folder: Path, version: int, **how: Any) -> Path:
    store = folder / "scene.zarr"
    given.to_zarr(store, zarr_format=version, consolidated=False, **how)
    return store


WRITTEN: dict[str, Any] = {
    "as rioxarray writes it": lambda folder, version: write(dataset(), folder, version),
    "the attribute lost": lambda folder, version: write(without_mapping(dataset()), folder, version),
    "with an encoding": lambda folder, version: write(
        dataset(), folder, version, encoding={"red": {"chunks": (40, 40)}}
    ),
    "of another name": lambda folder, version: write(without_mapping(dataset("crs")), folder, version),
    "of a strange name": lambda folder, version: write(without_mapping(dataset("austria")), folder, version),
    "among dates": lambda folder, version: write(
        without_mapping(dataset().assign_coords(time=np.datetime64("2022-06-17"), mean=3.0)), folder, version
    ),
}


def asset_in(store: Path | str, folder: Path, **changes: Any) -> Any:
    plain = asset_of(write_raster(folder / "plain.tif", VALUES))
    return replace(plain, href=f"{store}/red", **{"crs": "", "shape": None, "transform": None, **changes})


def read(asset: Any) -> np.ndarray:
    close_files()
    return read_asset(asset, NATIVE, resampling="nearest", reading=ONE_TRY, sign=lambda: asset.href).values


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", WRITTEN)
def test_the_crs_is_found_where_rioxarray_finds_it(tmp_path: Path, kind: str, version: int) -> None:
    store = WRITTEN[kind](tmp_path, version)
    asset = asset_in(store, tmp_path)
    assert np.array_equal(read(asset), VALUES)
    header = read_header(asset.href, signed=asset.href, extra={})
    assert "32633" in header.crs
    assert header.transform == NATIVE.affine


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "coordinates", [None, "", "spatial_ref time", "nowhere y x", "../../etc a/b", 3, ["spatial_ref"]]
)
def test_what_coordinates_name_and_is_not_there_is_no_error(tmp_path: Path, coordinates: Any, version: int) -> None:
    store = WRITTEN["the attribute lost"](tmp_path, version)
    told(store, version, coordinates=coordinates)
    assert np.array_equal(read(asset_in(store, tmp_path)), VALUES)


@pytest.mark.parametrize("version", [2, 3])
def test_a_grid_mapping_that_is_stated_alone_counts(tmp_path: Path, version: int) -> None:
    store = WRITTEN["the attribute lost"](tmp_path, version)
    told(store, version, grid_mapping="nowhere")
    with pytest.raises(UnreadableError, match="no CRS"):
        read(asset_in(store, tmp_path))
    told(store, version, grid_mapping="nowhere: lat lon spatial_ref: x y")
    assert np.array_equal(read(asset_in(store, tmp_path)), VALUES)


@pytest.mark.parametrize("version", [2, 3])
def test_a_store_with_no_such_variable_has_the_crs_of_its_item(tmp_path: Path, version: int) -> None:
    store = write(without_mapping(dataset()).drop_vars("spatial_ref"), tmp_path, version)
    assert np.array_equal(read(asset_in(store, tmp_path, crs=UTM)), VALUES)
    with pytest.raises(UnreadableError, match="no CRS: state proj:code in the item .* write_crs") as refused:
        read(asset_in(store, tmp_path))
    assert "gdal_edit" not in str(refused.value)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("by", ["array", "group"])
def test_what_array_or_group_say_comes_before_a_variable_that_nothing_names(
    tmp_path: Path, version: int, by: str
) -> None:
    store = WRITTEN["the attribute lost"](tmp_path, version)
    if by == "array":
        told(store, version, **{"proj:code": "EPSG:32632"})
    else:
        path = store / ("zarr.json" if version == 3 else ".zattrs")
        plain = json.loads(path.read_text()) if path.exists() else {}
        (plain["attributes"] if version == 3 else plain)["proj:code"] = "EPSG:32632"
        path.write_text(json.dumps(plain))
    assert "32632" in read_header(f"{store}/red", signed=f"{store}/red", extra={}).crs


MAPPINGS = [
    ("spatial_ref", "spatial_ref"),
    ("crs: x y", "crs"),
    ("crs: lat lon", "crs"),
    ("osgb: x y wgs84: lat lon", "osgb"),
    ("wgs84: lat lon osgb: y x", "osgb"),
    ("wgs84: lat lon osgb: e n", None),
    ("", None),
    ("../secret", None),
    (3, None),
    (None, None),
]


@pytest.mark.parametrize(("stated", "name"), MAPPINGS)
def test_names_of_grid_mappings_in_all_of_cfs_forms(stated: Any, name: str | None) -> None:
    assert mapping_name({"grid_mapping": stated}, ("y", "x")) == name


@pytest.mark.parametrize(
    ("coordinates", "names"),
    [
        ("spatial_ref", ("spatial_ref",)),
        ("time spatial_ref lat lon", ("spatial_ref",)),
        ("a b c crs", ("crs", "a", "spatial_ref")),
        ("x y", ("spatial_ref",)),
        (" ".join(f"v{number}" for number in range(10_000)), ("v0", "v1", "spatial_ref")),
    ],
)
def test_few_variables_are_looked_at(coordinates: str, names: tuple[str, ...]) -> None:
    assert names_beside({"coordinates": coordinates}, ("y", "x")) == names


@pytest.mark.parametrize("fault", [None, "403", "404"])
def test_over_http_one_request_more_finds_it_and_a_refused_one_is_no_error(tmp_path: Path, fault: str | None) -> None:
    store = WRITTEN["with an encoding"](tmp_path, 3)
    with serve(tmp_path, lambda number: fault if "spatial_ref" in server.requests[number] else None) as server:
        asset = asset_in(server.href(store.name), tmp_path, crs=UTM if fault else "")
        assert np.array_equal(read(asset), VALUES)
        assert sum("spatial_ref" in path for path in server.requests) == 1


def test_over_http_an_older_store_says_it_too(tmp_path: Path) -> None:
    store = tmp_path / "scene.zarr"
    without_mapping(dataset()).to_zarr(store, zarr_format=2, consolidated=True)
    with serve_elsewhere(tmp_path) as url:
        assert np.array_equal(read(asset_in(f"{url}/{store.name}", tmp_path)), VALUES)


def test_what_a_group_states_comes_before_a_variable_that_no_array_names(tmp_path: Path) -> None:
    store = WRITTEN["with an encoding"](tmp_path, 3)
    path = store / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attributes": {"proj:code": "EPSG:32634"}}))
    href = f"{store}/red"
    assert "32634" in read_header(href, signed=href, extra={}).crs
    told(store, 3, grid_mapping="spatial_ref")
    assert "32633" in read_header(href, signed=href, extra={}).crs
