"""Models that give an image: their layers are the bands of one COG, which is a source of the next model."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import rasterio
from PIL import Image
from rio_cogeo.cogeo import cog_validate

from tests.support.families import COLS, HERE, ROWS, noise
from tests.support.graphs import Draft
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.plan.make import plan_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.models.errors import CardError

pytestmark = pytest.mark.usefixtures("small_pictures")

BANDS = ("blue", "green", "red", "nir")


def image_card(folder, *, collection="optics", bands=BANDS, **output):
    """The image itself, a little brighter: y = 1.25 x, in as many bands."""
    draft = Draft()
    n = len(bands)
    model = draft.model(draft.node("Mul", "x", draft.constant([1.25])), n_in=n, n_out=n)
    entry = {"name": "x", "bands": list(bands), "tw:collection": collection, "tw:resampling": "nearest"}
    told = {"name": "y", "tw:layers": list(bands), "tw:unit": "reflectance", "tw:image": "clear", **output}
    return write_card(folder, model, inputs=[entry], outputs=[told], name="clear")


@pytest.fixture
def image(world):
    """The world with four bands, a hole in all of them."""
    for number, band in enumerate(BANDS):
        values = noise(number)
        values[40:60, 50:70] = np.nan
        world.add(values, band, unit="reflectance")
    return world


def job_of(world, card, output, **changes):
    return pixel_job(world, card, output, rows=ROWS, cols=COLS, **changes)


def expected(number):
    values = noise(number)
    values[40:60, 50:70] = np.nan
    return (np.float32(1.25) * values)[HERE]


def test_an_image_is_shown_in_its_colours(image, tmp_path):
    outcome = run(job_of(image, image_card(tmp_path / "card"), tmp_path / "out"))
    page = (tmp_path / "out" / "report.html").read_text()
    layers = re.findall(r'name="layer"[^>]*>\s*<span>([^<]+)', page)
    assert layers == ["clear: true colour", *BANDS]
    assert [row["name"] for row in outcome.report["layers"]] == [*BANDS]
    preview = np.asarray(Image.open(tmp_path / "out" / "preview.png").convert("RGB")).reshape(-1, 3).astype(int)
    # Noise in three bands has all colours; a ramp has a line of them.
    assert len({*map(tuple, preview // 32)}) > 100


def test_an_image_is_one_cog_whose_bands_have_names_and_units(image, tmp_path):
    outcome = run(job_of(image, image_card(tmp_path / "card"), tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tif*")) == ["clear.tif"]
    assert cog_validate(tmp_path / "out" / "clear.tif", strict=True)[0]
    with rasterio.open(tmp_path / "out" / "clear.tif") as dataset:
        assert dataset.descriptions == BANDS
        assert set(dataset.units) == {"reflectance"}
        assert set(dataset.dtypes) == {"float32"}
        assert np.isnan(dataset.nodatavals).all()
        assert (set(dataset.scales), set(dataset.offsets)) == ({1.0}, {0.0})
        assert "alpha" not in {interpretation.name for interpretation in dataset.colorinterp}
        pixels = dataset.read()
        tags = [dataset.tags(band + 1) for band in range(4)]
    for number in range(4):
        assert np.array_equal(pixels[number], expected(number), equal_nan=True)
        assert float(tags[number]["STATISTICS_MAXIMUM"]) == np.nanmax(pixels[number])
    item = json.loads((tmp_path / "out" / "item.json").read_text())
    assert not set(BANDS) & item["assets"].keys()
    asset = item["assets"]["clear"]
    assert [(band["name"], band["unit"], band["nodata"]) for band in asset["bands"]] == [
        (band, "reflectance", "nan") for band in BANDS
    ]
    assert item["properties"]["renders"]["clear"]["bidx"] == [3, 2, 1]
    assert item["assets"]["clear_style"]["href"] == "./clear.qml"
    assert b'redBand="3"' in (tmp_path / "out" / "clear.qml").read_bytes()
    assert [path.name for path in (tmp_path / "out").glob("*.qml")] == ["clear.qml"]
    rows = [(row["name"], row["href"], row["band"]) for row in outcome.report["layers"]]
    assert rows == [(band, "clear.tif", number) for number, band in enumerate(BANDS, start=1)]
    assert "clear.tif" in (tmp_path / "out" / "report.html").read_text()
    import tilewright

    assert np.array_equal(tilewright.open(tmp_path / "out")["nir"].values, pixels[3], equal_nan=True)


def test_an_image_is_the_same_in_every_cut_and_after_a_restart(image, tmp_path):
    card = image_card(tmp_path / "card")
    run(job_of(image, card, tmp_path / "a"))
    run(job_of(image, card, tmp_path / "b", tile={"block": 64, "step": 64}), workers=2)
    content = (tmp_path / "a" / "clear.tif").read_bytes()
    assert content == (tmp_path / "b" / "clear.tif").read_bytes()
    (tmp_path / "a" / "item.json").unlink()
    kept = (tmp_path / "a" / "clear.tif").stat().st_mtime_ns
    run(job_of(image, card, tmp_path / "a"))
    assert (tmp_path / "a" / "clear.tif").stat().st_mtime_ns == kept, "a file that is whole is kept"
    (tmp_path / "a" / "item.json").unlink()
    (tmp_path / "a" / "clear.tif").write_bytes(content[:-9])
    run(job_of(image, card, tmp_path / "a"))
    assert content == (tmp_path / "a" / "clear.tif").read_bytes()
    found = rerun_item(str(tmp_path / "a" / "item.json"), output=str(tmp_path / "c"))
    assert found["identical"], found
    assert found["layers"] == {"clear": True}


def test_chosen_layers_are_the_bands_of_the_image_and_an_update_takes_out_what_was(image, tmp_path):
    card = image_card(tmp_path / "card")
    run(job_of(image, card, tmp_path / "out", layers=["nir", "red"]))
    with rasterio.open(tmp_path / "out" / "clear.tif") as dataset:
        assert dataset.descriptions == ("red", "nir")
    alone = image_card(tmp_path / "alone", **{"tw:image": None})
    text = json.loads((alone / "card.json").read_text())
    del text["properties"]["mlm:output"][0]["tw:image"]
    (alone / "card.json").write_text(json.dumps(text))
    run_job(job_of(image, alone, tmp_path / "out"), RunOptions(update=True, workers=1))
    names = sorted(path.name for path in (tmp_path / "out").glob("*.tif"))
    assert names == sorted(f"{band}.tif" for band in BANDS)


def test_an_image_cut_into_several_files_is_one_raster_with_its_bands(tmp_path):
    world = World(tmp_path / "world")
    for number, band in enumerate(("red", "nir")):
        world.add(noise(number, side=700), band, unit="reflectance")
    card = image_card(tmp_path / "card", bands=("red", "nir"))
    box = {"rows": (0, 640), "cols": (0, 640)}
    run(pixel_job(world, card, tmp_path / "out", **box, cog={"max_side": 512}))
    assert len(list((tmp_path / "out").glob("clear_r*.tif"))) == 4
    with rasterio.open(tmp_path / "out" / "clear.vrt") as dataset:
        assert dataset.descriptions == ("red", "nir")
        pixels = dataset.read()
    for number in range(2):
        assert np.array_equal(pixels[number], (np.float32(1.25) * noise(number, side=700))[:640, :640])
    part = json.loads((tmp_path / "out" / "item_r00c00.json").read_text())
    assert [band["name"] for band in part["assets"]["clear"]["bands"]] == ["red", "nir"]
    again = pixel_job(world, card, tmp_path / "two", rows=(100, 600), cols=(90, 610), source=str(tmp_path / "out"))
    run(again)
    made = (np.float32(1.25) * np.float32(1.25) * noise(0, side=700))[100:600, 90:610]
    assert np.allclose(layer(tmp_path / "two", "clear"), made, rtol=1e-6)


@pytest.mark.parametrize("collection", ["optics", "sentinel-2-l2a"])
def test_an_image_is_the_source_of_the_next_model_whatever_sensor_it_stands_for(image, tmp_path, collection):
    """A card of Sentinel-2's bands, by its names too, reads the product as it stands: no offset, no scale of DN."""
    run(job_of(image, image_card(tmp_path / "card"), tmp_path / "first"))
    names = BANDS if collection == "optics" else ("B02", "B03", "B04", "B08")
    card = image_card(tmp_path / "next", collection=collection, bands=names)
    job = job_of(image, card, tmp_path / "second", sources={collection: str(tmp_path / "first")})
    assert not [words for words in plan_job(job).warnings if "cloud" in words], "it has none to remove"
    run(job)
    with rasterio.open(tmp_path / "second" / "clear.tif") as dataset:
        pixels = dataset.read()
    for number in range(4):
        assert np.allclose(pixels[number], np.float32(1.25) * expected(number), rtol=1e-6, equal_nan=True)


WRONG = {
    "an image of one band": ({"tw:image": "clear"}, ("red",), r"tw:image is 'clear'; remove it"),
    "the name of a layer": (
        {"tw:image": "red"},
        ("red", "nir"),
        r"the layer 'red' stands twice; change tw:layers, tw:i",
    ),
    "a name of every product": ({"tw:image": "data"}, ("red", "nir"), r"the layer 'data' is used by every product"),
    "no file name": ({"tw:image": "../clear"}, ("red", "nir"), r"the layer '../clear' is no file name"),
    "a number": ({"tw:image": 5}, ("red", "nir"), r"tw:image is 5; write"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_card_whose_image_cannot_be_is_refused(image, tmp_path, case):
    output, bands, words = WRONG[case]
    with pytest.raises(CardError, match=words):
        plan_job(job_of(image, image_card(tmp_path / "card", bands=bands, **output), tmp_path / "out"))


def test_classes_are_no_bands_of_an_image(image, tmp_path):
    draft = Draft()
    model = draft.model(draft.node("Mul", "x", draft.constant([1.0])), n_in=2, n_out=2)
    output = {"name": "y", "classes": ["a", "b"], "tw:image": "clear"}
    card = write_card(tmp_path / "card", model, inputs=[{"name": "x", "bands": ["red", "nir"]}], outputs=[output])
    with pytest.raises(CardError, match="tw:image is 'clear'; remove it: only values"):
        plan_job(job_of(image, card, tmp_path / "out"))
