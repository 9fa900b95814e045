"""Objects that models tell apart are published whole: as a table and as a layer of its ids, the same in every cut."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
import xarray as xr
import zarr

import tilewright as tw
from tests.support.fields import FIELD, field_card, field_map, field_world, whole_fields
from tests.support.output_places import open_place
from tests.support.table_standards import assert_fiboa
from tests.support.worlds import CRS, area, bounds, layer, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Advance
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.zarr.store import ProductStore

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 300
ROWS, COLS = (7, 270), (20, 290)


@pytest.fixture(scope="module")
def values():
    found = field_map(SIDE, 200)
    # A field over many blocks that comes back to itself, with a hole, and pixels that nobody saw.
    found[40:220, 130:140] = found[40:50, 130:240] = found[40:220, 230:240] = found[210:220, 130:240] = FIELD
    found[100:130, 200:215] = 0
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory, values):
    return field_world(tmp_path_factory.mktemp("world"), values)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return field_card(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def job_of(world, card):
    """Makes a job over the world with blocks of 64 px, or others."""

    def make(output, **changes):
        return pixel_job(world, card, output, rows=ROWS, cols=COLS, **{"tile": {"block": 64}, **changes})

    return make


@pytest.fixture(scope="module")
def product(tmp_path_factory, job_of):
    output = tmp_path_factory.mktemp("product") / "out"
    run_world(job_of(output))
    return output


def table(output, name="fields"):
    return geopandas.read_parquet(Path(output) / f"{name}.parquet")


def files(output):
    """What must not depend on the cut: the table, the layer as a file, and its pixels in the store."""
    with xr.open_zarr(str(Path(output) / "data.zarr"), consolidated=False) as store:
        pixels = store["fields"].values
    return (output / "fields.parquet").read_bytes(), (output / "fields.tif").read_bytes(), pixels.tobytes()


def check_against(output, labelled, seen):
    """Hold a product against objects (y, x) labelled over the whole map, 0 = none."""
    ids, found = layer(output, "fields"), table(output)
    assert ids.dtype == np.int32
    assert ((ids >= 0) == seen).all()
    assert ((ids > 0) == ((labelled > 0) & seen)).all()
    # One id for each object, one object for each id.
    pairs = np.unique(np.stack([labelled[ids > 0], ids[ids > 0]]), axis=1)
    assert pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == len(found)
    assert found.id.tolist() == list(range(1, len(found) + 1))
    with rasterio.open(output / "fields.tif") as dataset:
        burnt = rasterio.features.rasterize(
            zip(found.geometry, found.id, strict=True), dataset.shape, transform=dataset.transform, dtype="int32"
        )
        assert dataset.nodata == -1
    assert (burnt == np.maximum(ids, 0)).all()
    sizes = np.bincount(ids[ids > 0], minlength=len(found) + 1)[1:]
    assert (found.area_m2 == sizes * 100).all()


def test_every_field_is_one_whole_object(product, values):
    part = values[slice(*ROWS), slice(*COLS)]
    check_against(product, whole_fields(part), part > 0)
    found = table(product)
    assert len(found) > 120
    assert found.geometry.is_valid.all()
    assert np.allclose(found.geometry.area, found.area_m2)
    assert np.allclose(found.geometry.length, found.perimeter_m)
    assert found.crs.to_epsg() == int(CRS.split(":")[1])
    assert set(found.name) == {"field"}
    assert set(found.value) == {1}
    rim = shapely.box(*bounds(ROWS, COLS)).exterior
    assert (found.touches_edge == found.geometry.intersects(rim)).all()


def test_what_the_product_tells_of_its_objects(product):
    report, item = (json.loads((product / name).read_text()) for name in ("report.json", "item.json"))
    found = table(product)
    (told,) = report["layers"]
    assert (told["kind"], told["dtype"], told["mean"]) == ("id", "int32", None)
    assert told["objects"]["count"] == len(found)
    assert told["objects"]["area_m2"]["median"] == found.area_m2.median()
    assert told["objects"]["area_m2"]["total"] == found.area_m2.sum()
    assert report["tables"][0]["name"] == "fields"
    assert report["tables"][0]["rows"] == len(found)
    assert item["assets"]["fields"]["href"] == "./fields.tif"
    assert item["assets"]["fields_polygons"]["href"] == "./fields.parquet"
    opened = tw.open(str(product))
    assert len(opened.tables["fields"]) == len(found)
    assert int(opened["fields"].max()) == len(found)
    page = (product / "report.html").read_text()
    assert f"{len(found)} objects" in page
    assert "over the pixels that have one" not in page


CUTS = {
    "blocks of 128": {"tile": {"block": 128}},
    "blocks of 256": {"tile": {"block": 256}},
    "Zarr 2": {"zarr_format": 2},
}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", CUTS)
def test_the_files_are_the_same_in_every_cut(product, job_of, tmp_path, name, workers):
    run_world(job_of(tmp_path / "out", **CUTS[name]), workers=workers)
    assert files(tmp_path / "out") == files(product)


def test_the_same_on_a_cluster(product, job_of, tmp_path):
    job = job_of(tmp_path / "out")
    run_job(job, RunOptions(runner="dask", workers=2))
    assert files(tmp_path / "out") == files(product)


@pytest.mark.parametrize("form", ["probabilities", "values"])
def test_every_form_of_classes_tells_the_same_objects(product, world, tmp_path, form):
    card = field_card(tmp_path / "card", form=form)
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64}))
    assert (tmp_path / "out/fields.parquet").read_bytes() == (product / "fields.parquet").read_bytes()
    assert (layer(tmp_path / "out", "fields") == layer(product, "fields")).all()


def test_an_object_is_its_pixels_inside_the_area(world, values, card, tmp_path):
    outline = area((40, 200), (50, 180))
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, area=outline, tile={"block": 64}))
    ids = layer(tmp_path / "out", "fields")
    part = values[slice(*ROWS), slice(*COLS)]
    inside = ids >= 0
    assert 0 < inside.sum() < inside.size
    check_against(tmp_path / "out", whole_fields(np.where(inside, part, 0)), inside)
    assert table(tmp_path / "out").touches_edge.any()


def test_layers_of_classes_stand_beside_the_objects(world, values, tmp_path):
    card = field_card(tmp_path / "card", layers=("class", "fields", "confidence"))
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, polygons="class", zarr_format=3)
    report = run_world(job).report
    assert [each["name"] for each in report["layers"]] == ["fields", "class", "confidence"]
    part = values[slice(*ROWS), slice(*COLS)]
    check_against(tmp_path / "out", whole_fields(part), part > 0)
    assert ((layer(tmp_path / "out", "class") == 1) == (part == FIELD)).all()
    both = table(tmp_path / "out", "class_polygons")
    assert (both.name == "field").sum() == len(table(tmp_path / "out"))


def test_a_resumed_run_and_a_rerun_find_the_same(job_of, product, tmp_path):
    job = job_of(tmp_path / "out")
    run_world(job)
    out, content = tmp_path / "out", files(product)
    for gone in ("fields.parquet", "fields.tif", "item.json"):
        (out / gone).unlink()
    assert run_world(job).report["blocks_made"] == 0
    assert files(out) == content
    again = rerun_item(str(out / "item.json"), output=str(tmp_path / "again"))
    assert again["identical"]
    assert again["layers"] == {"fields": True, "fields_polygons": True}
    assert clean_output(str(out)) == []


def test_an_update_renumbers_all_objects(world, values, card, tmp_path):
    """What changes in one corner changes the ids of objects in blocks that stand."""
    other = values.copy()
    other[10:40, 30:60] = np.where((np.indices((30, 30)).sum(axis=0) % 2) == 0, FIELD, 900)
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64})
    run_world(job)
    before = layer(tmp_path / "out", "fields")
    changed = field_world(tmp_path / "other", other)
    job = pixel_job(changed, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64})
    run_job(job, RunOptions(workers=1, update=True))
    part = other[slice(*ROWS), slice(*COLS)]
    check_against(tmp_path / "out", whole_fields(part), part > 0)
    assert not (layer(tmp_path / "out", "fields") == before).all()
    fresh = pixel_job(changed, card, tmp_path / "fresh", rows=ROWS, cols=COLS, tile={"block": 64})
    run_world(fresh)
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


class _BrokenOffError(BaseException):
    """As if the process had been killed."""


@pytest.mark.parametrize("n_written", [0, 3, 11])
def test_a_run_that_broke_off_between_ids_goes_on(job_of, product, tmp_path, monkeypatch, n_written):
    """Some blocks hold ids then, the others marks."""
    job = job_of(tmp_path / "out")
    left = [n_written]
    plain = ProductStore.write_block

    def write(self, inner, arrays):
        if "observations" not in arrays and "fields" in arrays:
            if not left[0]:
                raise _BrokenOffError
            left[0] -= 1
        plain(self, inner, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(ProductStore, "write_block", write)
        with pytest.raises(_BrokenOffError):
            run_world(job)
    assert not (tmp_path / "out/item.json").exists()
    assert run_world(job).report["blocks_made"] == 0
    assert files(tmp_path / "out") == files(product)


def test_a_broken_block_is_made_anew_and_ids_that_are_none_are_mended(job_of, product, tmp_path):
    job = job_of(tmp_path / "out")
    run_world(job)
    (tmp_path / "out/item.json").unlink()
    array = zarr.open_group(str(tmp_path / "out/data.zarr"), mode="r+")["fields"]
    pixels = array[:]
    pixels[50:60][pixels[50:60] > 0] = 7
    array[:] = pixels
    assert run_world(job).report["blocks_made"] == 0
    assert files(tmp_path / "out") == files(product)
    (tmp_path / "out/item.json").unlink()
    pixels[70, 70] = -1
    array[:] = pixels
    assert run_world(job).report["blocks_made"] == 1
    assert files(tmp_path / "out") == files(product)


def test_zones_and_polygons_leave_ids_alone(product, job_of, tmp_path):
    zones = tmp_path / "zones.parquet"
    geopandas.GeoDataFrame(geometry=[shapely.box(*bounds((50, 90), (60, 120)))], crs=CRS).to_parquet(zones)
    with pytest.raises(StoreError, match="only tables of what was found|ids of objects"):
        tw.zones(str(product), str(zones), layers=["fields"])
    job = job_of(tmp_path / "out", polygons="fields")
    with pytest.raises(ValueError, match=r"polygons.fields: the layer has its objects in fields.parquet already"):
        run_world(job)


def test_fields_have_the_columns_of_fiboa_where_they_are_asked_for(product, job_of, tmp_path):
    wanted = {"fields": {"columns": "fiboa"}}
    run_world(job_of(tmp_path / "out", polygons=wanted))
    found = assert_fiboa(tmp_path / "out/fields.parquet").to_pandas()
    own = table(product)
    assert found["area"].to_numpy() == pytest.approx(own.area_m2.to_numpy() / 10_000)
    assert (found["id"].astype(int) == own.id).all()
    assert set(found["determination_method"]) == {"auto-imagery"}
    assert (tmp_path / "out/fields.tif").read_bytes() == (product / "fields.tif").read_bytes()
    assert not (tmp_path / "out/fields_polygons.parquet").exists()
    # Asked for later, no block is made again.
    run_world(job_of(tmp_path / "later"))
    report = run_job(job_of(tmp_path / "later", polygons=wanted), RunOptions(workers=1, update=True)).report
    assert report["blocks_made"] == 0
    assert (tmp_path / "later/fields.parquet").read_bytes() == (tmp_path / "out/fields.parquet").read_bytes()
    for more in ({"simplify": 5}, {"least_area": 10}, {"connectivity": 8}, {"classes": ["field"]}):
        with pytest.raises(ValueError, match=r"for which columns: fiboa may be asked and nothing else"):
            run_world(job_of(tmp_path / "none", polygons={"fields": {"columns": "fiboa", **more}}))


def test_the_table_is_exported_under_its_name(product, tmp_path):
    assert tw.export(str(product), tmp_path / "fields.geojson", table="fields") == {"fields": len(table(product))}
    assert len(json.loads((tmp_path / "fields.geojson").read_text())["features"]) == len(table(product))


def test_without_an_object_the_table_is_empty_and_whole(tmp_path, card):
    world = field_world(tmp_path / "world", np.full((100, 100), 3000, np.uint16))
    report = run_world(pixel_job(world, card, tmp_path / "out", rows=(7, 90), cols=(10, 90))).report
    found = table(tmp_path / "out")
    assert (len(found), report["layers"][0]["objects"]["count"]) == (0, 0)
    assert (layer(tmp_path / "out", "fields") == 0).all()


@pytest.mark.parametrize("how", ["update", "replace"])
def test_another_layer_leaves_nothing_of_the_former(world, card, tmp_path, how):
    other = field_card(tmp_path / "card", layers=("parcels",))
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 128}))
    content = (tmp_path / "out/fields.parquet").read_bytes()
    job = pixel_job(world, other, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 128})
    run_job(job, RunOptions(workers=1, update=how == "update", replace=how == "replace"))
    assert [str(path) for path in (tmp_path / "out").rglob("*fields*")] == []
    assert (tmp_path / "out/parcels.parquet").read_bytes() == content


def test_files_of_parts_hold_the_ids_of_the_whole(card, tmp_path):
    values = field_map(700, 500, seed=2)
    world = field_world(tmp_path / "world", values)
    job = pixel_job(world, card, tmp_path / "out", rows=(7, 690), cols=(10, 690), cog={"max_side": 512})
    run_world(job)
    assert len(list((tmp_path / "out").glob("fields_r*.tif"))) == 4
    with rasterio.open(tmp_path / "out/fields.vrt") as dataset:
        ids = dataset.read(1)
    labelled = whole_fields(values[7:690, 10:690])
    pairs = np.unique(np.stack([labelled.ravel(), ids.ravel()]), axis=1)
    assert pairs.shape[1] == labelled.max() + 1 == len(table(tmp_path / "out")) + 1


def test_in_a_bucket_a_run_broken_off_ends_as_the_whole_one(product, job_of, tmp_path, moto, monkeypatch):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    job = job_of(tmp_path / "out").model_copy(update={"output": storage.uri})
    n_blocks = []

    def breaking(event):
        n_blocks.append(isinstance(event, Advance) and bool(event.block))
        if sum(n_blocks) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, RunOptions(workers=1), listener=breaking)
    assert storage.read("item.json") is None
    run_job(job, RunOptions(workers=1))
    assert [storage.read(name) for name in ("fields.parquet", "fields.tif")] == [*files(product)[:2]]
    assert clean_output(storage.uri) == []
    assert storage.read("item.json") is not None


@pytest.mark.parametrize("form", ["logits", "values"])
def test_objects_of_blended_windows_are_the_same(product, job_of, world, tmp_path, form):
    """The model looks at each pixel alone."""
    card = field_card(tmp_path / "card", form=form, tile={"step": 64, "trim": 16, "merge": "blend"})
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64})
    run_world(job)
    assert (tmp_path / "out/fields.parquet").read_bytes() == (product / "fields.parquet").read_bytes()
    if form == "logits":
        run_world(job_of(tmp_path / "flips", augment="flips"))
        assert (tmp_path / "flips/fields.parquet").read_bytes() == (product / "fields.parquet").read_bytes()
