"""A real STAC API, S3 and a web server: searched page by page, and a job that maps the same pixels from each."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import obstore
import pytest
import rasterio
from shapely.geometry import box, shape

from tests.support.products import layers_of
from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sample.build import SAMPLE_AREA, SAMPLE_WATER_PERIOD
from tilewright.catalogs.search import Filters, search_scenes
from tilewright.catalogs.sources import api
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.flows.environment import s3_settings
from tilewright.flows.job.job import make_job
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("small_pictures")]

RESERVOIR = (14.985, 48.69, 15.03, 48.715)
SUMMER = (datetime(2022, 6, 10, tzinfo=UTC), datetime(2022, 7, 31, 23, 59, 59, tzinfo=UTC))
EVER = (None, None)


@pytest.fixture
def bucket(services, monkeypatch):
    """The environment of somebody whose bucket lies at a private endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", services["S3_ENDPOINT"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def sources(services, bucket):
    """The same sample from three places: hrefs in the bucket, hrefs on the web server, files of the local catalog."""
    on_the_web = {name: f"{name}-http" for name in ("sentinel-2-l2a", "sentinel-1-rtc")}
    return {
        "s3": services["STAC_API"],
        "http": {"href": services["STAC_API"], "collections": on_the_web},
        "local": str(Path(services["SAMPLE"], "catalog.json")),
    }


def search(source, *, collection="sentinel-2-l2a", area=SAMPLE_AREA, period=EVER, bands=("red",), filters=None):
    return search_scenes(
        resolve_source(source, s3=s3_settings()),
        collection=collection,
        aoi=box(*area),
        start=period[0],
        end=period[1],
        bands=bands,
        filters=filters,
    )


def names(scenes):
    return [scene.id for scene in scenes]


@pytest.fixture(scope="module")
def water(services, tmp_path_factory):
    """The class and confidence (band, y, x) of a small water job on the local catalog."""
    output = tmp_path_factory.mktemp("local") / "water"
    run_job(water_job(str(Path(services["SAMPLE"], "catalog.json")), output))
    return layers_of(output)


def water_job(source, output):
    fields = {"name": "water", "area": list(RESERVOIR), "period": SAMPLE_WATER_PERIOD, "model": "ndwi-water"}
    return make_job({**fields, "source": source}, base=Path(), output=str(output))


@pytest.mark.parametrize(("kind", "home"), [("s3", "s3://"), ("http", "http://127.0.0.1:")])
def test_the_api_gives_the_scenes_of_the_catalog(sources, kind, home):
    found, expected = search(sources[kind]), search(sources["local"])
    assert names(found) == names(expected)
    assert len(found) > 10
    assert all(asset.href.startswith(home) for scene in found for asset in scene.assets)
    assert [scene.state for scene in found] == [scene.state for scene in expected]


def test_a_search_walks_all_pages(sources, monkeypatch):
    whole, pages = search(sources["s3"]), []
    send = api.send

    def counting(request, **options):
        pages.append(request)
        return send(request, **options)

    monkeypatch.setattr(api, "PAGE_ITEMS", 4)
    monkeypatch.setattr(api, "send", counting)
    assert search(sources["s3"]) == whole
    assert len(pages) >= len(whole) / 4


def test_the_period_includes_both_ends(sources):
    scenes = search(sources["http"])
    first, last = scenes[2].datetime, scenes[6].datetime
    met = search(sources["http"], period=(first, last))
    assert names(met) == [scene.id for scene in scenes if first <= scene.datetime <= last]
    assert met[0].datetime == first
    assert met[-1].datetime == last


def test_only_scenes_that_meet_the_area_are_found(sources):
    west = (14.95, 48.69, 14.96, 48.70)
    met = search(sources["s3"], area=west)
    assert 0 < len(met) < len(search(sources["s3"]))
    assert all(shape(scene.geometry).intersects(box(*west)) for scene in met)
    assert search(sources["s3"], area=(20.0, 48.69, 20.1, 48.70)) == ()


def test_radar_comes_from_its_own_collection(sources):
    scenes = search(sources["s3"], collection="sentinel-1-rtc", bands=("vv", "vh"), period=SUMMER)
    assert {scene.collection for scene in scenes} == {"sentinel-1-rtc"}
    assert {asset.band for scene in scenes for asset in scene.assets} == {"vv", "vh"}


def test_a_collection_the_api_lacks_is_refused_with_those_it_has(sources):
    with pytest.raises(CatalogError, match="has no collection landsat-c2-l2; it has: .*sentinel-2-l2a"):
        search(sources["s3"], collection="landsat-c2-l2")


def test_more_items_than_allowed_are_refused(sources):
    with pytest.raises(CatalogError, match="gives more than 3 items"):
        search(sources["s3"], filters=Filters(limit_items=3))


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_a_job_maps_the_same_pixels_as_from_the_local_catalog(sources, water, kind, tmp_path):
    outcome = run_job(water_job(sources[kind], tmp_path / "water"))
    made = layers_of(outcome.output)
    assert {0, 1} <= set(np.unique(made["class"]))
    for layer, pixels in water.items():
        assert np.array_equal(made[layer], pixels), layer
    item = json.loads(Path(outcome.output, "item.json").read_text())
    origins = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert origins
    assert "testing" not in json.dumps(item), "keys of the bucket have no place in a product"


def test_a_job_reads_from_and_writes_to_a_bucket(services, sources, water):
    # A name of this run alone: the bucket outlives it.
    output = f"s3://{services['S3_PRODUCTS']}/water-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    run_job(water_job(sources["s3"], output))
    assert product_status(output)["state"] == "complete"
    name = output.rpartition("/")[2]
    store = obstore.store.S3Store(
        services["S3_PRODUCTS"], prefix=name, endpoint=services["S3_ENDPOINT"], client_options={"allow_http": True}
    )
    for layer, pixels in water.items():
        file = bytes(obstore.get(store, f"{layer}.tif").bytes())
        with rasterio.MemoryFile(file) as memory, memory.open() as dataset:
            assert np.array_equal(dataset.read(), pixels), layer
