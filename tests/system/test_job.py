"""The main job end to end: on real windows, on the sample against its truth, resumed, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import rioxarray  # noqa: F401 -- registers .rio
import xarray as xr
from onnx import TensorProto
from rio_cogeo.cogeo import cog_validate
from typer.testing import CliRunner

from tests.support.danube import SCENE, water_fields, water_job, write_water_job
from tests.support.graphs import Draft, conv_stack
from tests.support.worlds import World, pixel_job, write_card
from tilewright.catalogs.publish.validate import validate_item
from tilewright.catalogs.sample.build import SAMPLE_AREA, SAMPLE_CHANGE_AFTER, SAMPLE_CHANGE_BEFORE, SAMPLE_WATER_PERIOD
from tilewright.catalogs.schemas import ITEM, stac_schemas
from tilewright.flows.cli.main import app
from tilewright.flows.job.job import make_job
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.storage.errors import StoreError


@pytest.fixture(scope="module")
def danube(real, tmp_path_factory):
    output = tmp_path_factory.mktemp("danube")
    return run_job(water_job(real, output / "water"))


def job_on_sample(sample, output, **changes):
    common = {"area": list(SAMPLE_AREA), "source": str(sample / "catalog.json"), "name": "sample"}
    return make_job(
        {**common, "model": "ndwi-water", "period": SAMPLE_WATER_PERIOD, **changes}, base=Path(), output=str(output)
    )


@pytest.fixture(scope="module")
def sample_water(sample, tmp_path_factory):
    return run_job(job_on_sample(sample, tmp_path_factory.mktemp("sample-water") / "out"))


def read(output, layer):
    with rasterio.open(f"{output}/{layer}.tif") as dataset:
        return dataset.read(1), dataset.transform


def truth_on(sample, name, transform, shape):
    """A truth raster on the product's grid; both lie on whole pixels of the same CRS."""
    with rasterio.open(sample / "truth" / f"{name}.tif") as dataset:
        left, top = ~dataset.transform * (transform.c, transform.f)
        window = rasterio.windows.Window(round(left), round(top), shape[1], shape[0])
        return dataset.read(1, window=window, boundless=True, fill_value=255)


def test_the_danube_is_where_it_is_and_the_water_share_is_right(danube):
    classes, transform = read(danube.output, "class")
    valid = classes != 255
    assert 0.14 <= (classes == 1).sum() / valid.sum() <= 0.20
    col, row = (int(value) for value in ~transform * (361500, 5349050))
    assert (classes[row - 3 : row + 3, col - 3 : col + 3] == 1).all(), "the middle of the river is water"
    col, row = (int(value) for value in ~transform * (360800, 5350800))
    assert (classes[row - 3 : row + 3, col - 3 : col + 3] == 0).all(), "the fields are not"


def test_every_cog_is_strictly_valid(danube):
    for layer in ("class", "confidence"):
        valid, errors, warnings = cog_validate(f"{danube.output}/{layer}.tif", strict=True, quiet=True)
        assert valid, (errors, warnings)


def test_the_item_is_valid_and_leads_to_files_that_are_there(danube):
    plain = json.loads(Path(danube.output, "item.json").read_text())
    validate_item(plain)
    item = pystac.Item.from_file(f"{danube.output}/item.json")
    for asset in item.assets.values():
        assert Path(danube.output, asset.href).exists()
    assert {link.rel for link in item.links} >= {"derived_from", "collection"}
    assert item.properties["mlm:name"] == "ndwi-water"


def test_store_and_cog_hold_the_same_pixels_and_nodata_is_never_a_class(danube):
    classes, transform = read(danube.output, "class")
    with xr.open_zarr(f"{danube.output}/data.zarr", mask_and_scale=False) as store:
        assert store.rio.crs.to_epsg() == 32633
        x, y = transform.c + 5 + 10 * np.arange(classes.shape[1]), transform.f - 5 - 10 * np.arange(classes.shape[0])
        cut = store.sel(x=x, y=y)
        assert np.array_equal(cut["class"].to_numpy(), classes)
        counts = cut["observations"].to_numpy()
    assert ((counts == 0) == (classes == 255)).all()
    assert counts.max() == 1


def test_the_report_says_what_was_promised(danube):
    report = json.loads(Path(danube.output, "report.json").read_text())
    promised = (
        "blocks windows_run windows_skipped passes read_factor seconds floor_seconds efficiency km2_per_s "
        "peak_memory_mb provider receptive_field trim exact scenes failures"
    ).split()
    assert not [key for key in promised if key not in report]
    assert (report["provider"], report["exact"], report["failures"]) == ("cpu", True, [])
    assert [scene["id"] for scene in report["scenes"]] == [SCENE]
    assert report["layers"][0]["classes"][1]["area_km2"] == pytest.approx(2.64, abs=0.3)
    page = Path(danube.output, "report.html").read_text()
    assert "danube" not in page.replace(danube.output, "")
    assert "water" in page
    assert Path(danube.output, "preview.png").stat().st_size > 10_000


def test_change_on_the_danube_has_both_layers(real, tmp_path):
    changes = {"period": {"before": "2021-06-01/2021-06-30", "after": "2021-09-01/2021-09-30"}, "model": "cva-change"}
    job = water_job(real, tmp_path / "out", **changes)
    outcome = run_job(job)
    change, _ = read(outcome.output, "change")
    magnitude, _ = read(outcome.output, "magnitude")
    assert (np.isnan(magnitude) == (change == 255)).all()
    assert np.nanmean(magnitude[change == 1]) > np.nanmean(magnitude[change == 0])


def test_water_on_the_sample_agrees_with_the_truth(sample, sample_water):
    classes, transform = read(sample_water.output, "class")
    known = json.loads((sample / "truth" / "classes.json").read_text())
    truth = truth_on(sample, "landcover_end", transform, classes.shape)
    water = np.isin(truth, water_codes(known))
    clear = classes != 255
    both, either = ((classes == 1) & water & clear).sum(), (((classes == 1) | water) & clear).sum()
    assert clear.mean() > 0.9
    assert both / either >= 0.9


def water_codes(known):
    """The codes of water in the truth's class table."""
    table = known.get("landcover", known)
    entries = table.items() if isinstance(table, dict) else ((entry["value"], entry["name"]) for entry in table)
    return [int(code) for code, name in entries if "water" in str(name) or "river" in str(name)]


def test_change_on_the_sample_finds_reservoir_and_clear_cuts(sample, tmp_path):
    period = {"before": SAMPLE_CHANGE_BEFORE, "after": SAMPLE_CHANGE_AFTER}
    outcome = run_job(job_on_sample(sample, tmp_path / "out", model="cva-change", period=period))
    change, transform = read(outcome.output, "change")
    truth = truth_on(sample, "change", transform, change.shape)
    clear = change != 255
    for kind in (1, 2):
        found = (truth == kind) & clear
        assert found.sum() > 500
        assert (change[found] == 1).mean() >= 0.9
    assert (change[(truth == 0) & clear] == 1).mean() < 0.05


def test_a_second_call_says_complete_and_writes_nothing(sample, sample_water):
    before = {path: path.stat().st_mtime_ns for path in Path(sample_water.output).rglob("*")}
    again = run_job(job_on_sample(sample, sample_water.output))
    assert again.already_complete
    assert {path: path.stat().st_mtime_ns for path in Path(sample_water.output).rglob("*")} == before


def test_status_reads_the_ledger(sample_water):
    existing = product_status(sample_water.output)
    assert existing["state"] == "complete"
    assert existing["blocks_done"] == existing["blocks_total"] > 0
    assert existing["failures"] == []
    assert existing["unit"] == "block"


def test_a_run_goes_on_where_it_was_and_redoes_what_was_tampered_with(sample, sample_water, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(sample_water.output, output)
    (output / "item.json").unlink()
    entries = sorted((output / ".tilewright" / "ledger").iterdir())
    entries[0].unlink()
    shard = next(path for path in sorted((output / "data.zarr" / "class" / "c").rglob("*")) if path.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 0xFF
    shard.write_bytes(content)
    kept = {path.name: path.stat().st_mtime_ns for path in entries[1:]}
    outcome = run_job(job_on_sample(sample, output))
    redone = [name for name, at in kept.items() if (output / ".tilewright" / "ledger" / name).stat().st_mtime_ns != at]
    assert len(redone) <= 4, "a shard of the product holds parts of at most four blocks"
    for path in sorted((Path(sample_water.output) / "data.zarr").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (output / path.relative_to(sample_water.output)).read_bytes(), path
    assert not outcome.already_complete
    assert np.array_equal(read(output, "class")[0], read(sample_water.output, "class")[0])


def test_another_request_on_the_same_output_is_refused_by_the_key_that_differs(sample, sample_water):
    with pytest.raises(StoreError, match="begun with another request: radiometry differ"):
        run_job(job_on_sample(sample, sample_water.output, radiometry="metadata"))


def test_replace_starts_over(sample, sample_water, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(sample_water.output, output)
    outcome = run_job(job_on_sample(sample, output, layers=["class"]), RunOptions(replace=True))
    assert [layer["name"] for layer in outcome.report["layers"]] == ["class"]
    assert not (output / "confidence.tif").exists()


@pytest.mark.parametrize("changes", [{"tile": {"block": 512}}, {"tile": {"block": 1536}}, {"engine": "stackstac"}])
def test_pixels_do_not_depend_on_blocks_or_engine(sample, sample_water, tmp_path, changes):
    if changes.get("engine") == "stackstac":
        pytest.importorskip("stackstac", reason="the extra `stackstac` is not installed")
    outcome = run_job(job_on_sample(sample, tmp_path / "out", **changes), RunOptions(workers=3))
    for layer in ("class", "confidence"):
        assert np.array_equal(read(outcome.output, layer)[0], read(sample_water.output, layer)[0])


REFUSED = {
    "source": ({"source": "earth-serch"}, "earth-serch"),
    "model": ({"model": "ndwi-watr"}, "ndwi-water"),
    "period": ({"period": "2021-06-30/2021-06-01"}, "ends before it starts"),
    "nowhere": ({"area": [20.0, 10.0, 20.1, 10.1]}, "No scenes"),
    "too early": ({"period": "2001-01-01/2001-02-01"}, "No scenes"),
    "layer": ({"layers": ["klass"]}, "It gives: class, confidence"),
    "geographic": ({"grid": {"crs": "EPSG:4326"}}, "geographic"),
    "provider": ({"provider": "tensorrt"}, "tensorrt"),
    "blocks": ({"limits": {"blocks": 1}, "tile": {"block": 512}}, "limits.blocks"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_be_done_is_refused_in_one_sentence_and_nothing_is_written(real, tmp_path, case):
    changes, words = REFUSED[case]
    job = water_fields(real, **changes)
    (tmp_path / "job.json").write_text(json.dumps(job))
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / "out")])
    assert answer.exit_code == 2, answer.output
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()[-1]) < 600
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left in (["job.json"], ["job.json", "out"])
    assert not (tmp_path / "out" / "data.zarr" / "class" / "c").exists()


@pytest.mark.parametrize("place", ["/dev/null/out", "file.txt"])
def test_an_output_that_cannot_be_written_is_refused(real, tmp_path, place):
    (tmp_path / "file.txt").write_text("mine")
    write_water_job(tmp_path, real)
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / place)])
    assert answer.exit_code == 2
    assert "Traceback" not in answer.stderr
    assert (tmp_path / "file.txt").read_text() == "mine"


def test_a_folder_that_holds_something_else_is_never_written_into(real, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    write_water_job(tmp_path, real)
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "job.json"), "--output", str(tmp_path / "out")])
    assert answer.exit_code == 2
    assert "thesis.txt" in answer.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_plan_and_search_and_status_speak_json_and_write_nothing(real, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_water_job(tmp_path, real)
    planned = json.loads(CliRunner().invoke(app, ["plan", "job.json", "--json"]).stdout)
    assert (planned["n_scenes"], planned["n_blocks"], planned["provider"]) == (1, 4, "cpu")
    found = json.loads(CliRunner().invoke(app, ["search", "job.json", "--items"]).stdout)
    items = pystac.ItemCollection.from_dict(found)
    assert [(item.id, item.properties["tw:radiometry"]) for item in items] == [(SCENE, "no-offset")]
    (item,) = found["features"]
    for address in (ITEM, *item["stac_extensions"]):
        assert list(stac_schemas().failures(item, address)) == []
    assert item["properties"]["tw:area_share"] == found["tw:period_shares"]["2021-06-01/2021-06-30"]
    assert (planned["name"], planned["layers"], planned["grid"]["crs"]) == (
        "water",
        ["class", "confidence"],
        "EPSG:32633",
    )
    assert [scene["id"] for scene in planned["scenes"]["image"]] == [SCENE]
    assert any("without cloud classification" in warning for warning in planned["warnings"])
    refused = CliRunner().invoke(app, ["plan", "job.json", "--json", "--set", "model=nothing"])
    assert (refused.exit_code, json.loads(refused.stdout)["state"]) == (2, "refused")
    assert json.loads(refused.stdout)["error"] in refused.stderr.replace("tilewright: ", "")
    assert CliRunner().invoke(app, ["status", "nothing-here"]).exit_code == 2
    assert "danube" not in CliRunner().invoke(app, ["plan", "job.json"]).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json"]


def test_the_models_are_listed_shown_and_checked():
    listed = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    assert {"ndwi-water", "cva-change"} <= {entry["name"] for entry in listed}
    shown = CliRunner().invoke(app, ["models", "show", "cva-change"])
    assert "before" in shown.stdout or "pair" in shown.stdout
    checked = CliRunner().invoke(app, ["models", "check", "ndwi-water"])
    assert checked.exit_code == 0, checked.output
    assert "receptive" in checked.stdout.lower()


def test_a_map_of_clouds_alone_says_so_wherever_it_is_told(real, tmp_path):
    """Exit 0 and not one value: the report and its page must not look like a success."""
    model = write_veg_card(tmp_path / "card")
    plain = {
        "name": "clouds",
        "area": [5.052, 51.216, 5.060, 51.2215],
        "period": "2023-04-02",
        "source": str(real / "catalog.json"),
        "model": str(model),
    }
    made = run_job(make_job(plain, base=tmp_path, output=str(tmp_path / "out")))
    assert made.report["missing_percent"] == 100.0
    (sentence,) = [text for text in made.report["warnings"] if "No pixel of the area has a value" in text]
    assert sentence in (tmp_path / "out" / "report.html").read_text()
    with xr.open_zarr(tmp_path / "out" / "data.zarr") as opened:
        assert opened.observations.dtype == np.uint16, "0 observations are a number"
        assert int(opened.observations.max()) == 0


def test_a_model_that_gives_numbers_that_are_no_class_is_told_of(tmp_path):
    """A label of 7 that the card does not name is nodata in the map, which must not go unsaid."""
    red = np.where(np.arange(128)[None] < 32, 7, 1).repeat(128, axis=0).astype(np.float32)
    world = World(tmp_path / "world")
    world.add(red, "red", unit="reflectance")
    draft = Draft()
    labels = draft.node("Squeeze", draft.node("Cast", "x", to=TensorProto.INT64), draft.constant(np.array([1])))
    ports = [("x", TensorProto.FLOAT, ["batch", 1, "h", "w"])], [(labels, "y", TensorProto.INT64, ["batch", "h", "w"])]
    head = {"name": "y", "classes": ("low", "high"), "dims": ("batch", "height", "width")}
    card = write_card(
        tmp_path / "card", draft.model_many(*ports), inputs=[{"name": "x", "bands": ["red"]}], outputs=[head]
    )
    made = run_job(pixel_job(world, card, tmp_path / "out", rows=(0, 128), cols=(0, 128)))
    (sentence,) = [text for text in made.report["warnings"] if text.startswith("Layer class")]
    assert sentence.startswith("Layer class: 25 % of the observed pixels have no class")


def write_veg_card(folder):
    image = {"name": "x", "bands": ("red", "nir"), "tw:collection": "sentinel-2-l2a"}
    return write_card(
        folder,
        conv_stack(n_in=2),
        inputs=[image],
        outputs=[{"name": "y", "classes": ("bare", "green"), "tw:layers": ["class"]}],
    )
