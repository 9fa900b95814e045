"""One catalog wherever it lies: behind HTTP, in a bucket, in a geoparquet file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box, shape

from tests.support.small_catalogs import item, links, names, search, write
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.s3 import s3_settings_of
from tilewright.catalogs.search import Filters


@pytest.fixture
def folder_server(serve: Callable[[Any], str]) -> Callable[[Path], str]:
    def start(folder: Path) -> str:
        class Folder(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, directory=str(folder), **kwargs)

            def log_message(self, *args: object) -> None:
                pass

        return serve(Folder)

    return start


def test_a_static_catalog_over_http_gives_the_same_scenes(real: Path, folder_server: Callable[[Path], str]) -> None:
    url = folder_server(real)
    there = search(f"{url}/catalog.json")
    here = search(str(real / "catalog.json"))
    assert names(there) == names(here)
    assert there[0].assets[0].href == here[0].assets[0].href.replace(str(real.resolve()), url)
    assert [scene.state for scene in there] == [scene.state for scene in here]


def test_pixels_are_looked_at_over_http_too(real: Path, tmp_path: Path, folder_server: Callable[[Path], str]) -> None:
    """The overview of a clear April date contradicts its flag if that is set to false."""
    folder = real / "sentinel-2-l2a/S2_20230415_L2A"
    plain = json.loads((folder / "S2_20230415_L2A.json").read_text())
    plain["properties"]["earthsearch:boa_offset_applied"] = False
    write(tmp_path / "x.json", plain)
    for name in ("coastal", "red"):
        (tmp_path / f"{name}.tif").write_bytes((folder / f"{name}.tif").read_bytes())
    url = folder_server(tmp_path)
    with pytest.raises(CatalogError, match=r"S2_20230415_L2A .*valid DN of coastal lie below 1000"):
        search(f"{url}/x.json")


def test_a_geoparquet_gives_only_what_is_asked_for(
    real: Path, tmp_path: Path, folder_server: Callable[[Path], str]
) -> None:
    path = real / "stac-items/100-sentinel-2-items.parquet"

    def agrees(asset: Any) -> np.ndarray:
        return np.full((50, 50), 1500, np.uint16)

    world = box(-180, -90, 180, 90)
    everything = search(str(path), aoi=world, read_overview=agrees)
    assert len(everything) + sum(len(scene.replaces) for scene in everything) == 100
    one = everything[7]
    again = search(
        str(path), aoi=shape(one.geometry).centroid, start=one.datetime, end=one.datetime, read_overview=agrees
    )
    assert one in again
    assert {scene.datetime for scene in again} == {one.datetime}
    over_http = search(f"{folder_server(path.parent)}/{path.name}", aoi=world, read_overview=agrees)
    assert names(over_http) == names(everything)
    with pytest.raises(CatalogError, match="has no collection dem; it has: sentinel-2-l2a"):
        search(str(path), collection="dem", bands=["elevation"])
    with pytest.raises(CatalogError, match="more than 5 items"):
        search(str(path), aoi=world, filters=Filters(limit_items=5))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read as Parquet"):
        search(write(tmp_path / "x.parquet", "nonsense"))


@pytest.fixture(scope="module")
def bucket(moto: str) -> Iterator[str]:
    """The address of a local S3 server with an empty bucket; the environment is set for that server."""
    boto3 = pytest.importorskip("boto3", reason="the extra `dev` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {
            "AWS_ENDPOINT_URL": moto,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(key, value)
        boto3.client("s3", endpoint_url=moto, region_name="us-east-1").create_bucket(Bucket="scenes")
        yield moto


def test_a_static_catalog_in_a_bucket_is_read_and_looked_at(real: Path, bucket: str) -> None:
    """The catalog comes through obstore, the overview through GDAL, once with the environment and once presigned."""
    import boto3

    folder = real / "sentinel-2-l2a/S2_20230415_L2A"
    plain = json.loads((folder / "S2_20230415_L2A.json").read_text())
    plain["properties"]["earthsearch:boa_offset_applied"] = False
    client = boto3.client("s3", endpoint_url=bucket, region_name="us-east-1")
    catalog = {"type": "Catalog", "id": "root", "links": links("./x/item.json")}
    client.put_object(Bucket="scenes", Key="c/catalog.json", Body=json.dumps(catalog))
    client.put_object(Bucket="scenes", Key="c/x/item.json", Body=json.dumps(plain))
    client.put_object(Bucket="scenes", Key="c/x/coastal.tif", Body=(folder / "coastal.tif").read_bytes())
    s3 = s3_settings_of(os.environ)
    (scene,) = search("s3://scenes/c/catalog.json", s3, radiometry="pixels", bands=["coastal"])
    assert (scene.state, scene.assets[0].href) == ("offset-applied", "s3://scenes/c/x/coastal.tif")
    presigned = {"href": "s3://scenes/c/catalog.json", "signing": "s3", "s3_endpoint": bucket}
    (again,) = search(presigned, s3, radiometry="pixels", bands=["coastal"])
    assert again.state == "offset-applied"
    with pytest.raises(CatalogError, match=r"s3://scenes/nothing.json cannot be read"):
        search("s3://scenes/nothing.json", s3)


SHIFTED = {"earthsearch:boa_offset_applied": False}


@pytest.mark.parametrize("name", ["a b.tif", "a%20b.tif", "a+b.tif", "50%.tif", "ä=1,2.tif"])
def test_keys_of_a_bucket_are_taken_as_they_are_written(name: str, tmp_path: Path, bucket: str) -> None:
    """Read through obstore and GDAL with the environment, and through GDAL presigned."""
    import boto3

    client = boto3.client("s3", endpoint_url=bucket, region_name="us-east-1")
    shape: dict[str, Any] = {"width": 60, "height": 60, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "dark.tif", "w", transform=from_origin(5e5, 5.4e6, 10, 10), **shape) as file:
        file.write(np.full((1, 60, 60), 300, np.uint16))
    content = (tmp_path / "dark.tif").read_bytes()
    plain = {**item("one"), "assets": {"coastal": {"href": f"./{name}"}}}
    plain["properties"] = {
        **plain["properties"],
        "s2:processing_baseline": "05.09",
        "earthsearch:boa_offset_applied": False,
    }
    client.put_object(Bucket="scenes", Key=f"k %/{name}", Body=content)
    client.put_object(Bucket="scenes", Key="k %/i+1.json", Body=json.dumps(plain))
    s3 = s3_settings_of(os.environ)
    for source in (
        "s3://scenes/k %/i+1.json",
        {"href": "s3://scenes/k %/i+1.json", "signing": "s3", "s3_endpoint": bucket},
    ):
        (scene,) = search(source, s3, radiometry="pixels", bands=["coastal"])
        assert scene.assets[0].href == f"s3://scenes/k %/{name}"
        # The pixels were looked at: they contradict the item.
        assert scene.state == "offset-applied"
