"""Images and values open as maps of classes do: titiler draws each render, and the one line of Python the same."""

from __future__ import annotations

import io
import json

import matplotlib as mpl
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
from fastapi import FastAPI
from rio_tiler.io import STACReader
from starlette.testclient import TestClient
from titiler.core.factory import MultiBaseTilerFactory

import tilewright as tw
from tests.opens.asked import words_of
from tests.support.families import COLS, HERE, ROWS, noise
from tests.support.graphs import Draft
from tests.support.worlds import World, pixel_job, run, write_card

BANDS = ("blue", "green", "red", "nir")
HOLE = (slice(40, 60), slice(50, 70))


@pytest.fixture(scope="module", params=["image", "values", "degrees"])
def made(request, small_pictures, tmp_path_factory):
    """The folder of a product whose layers are the scene's bands: as an image, apart, and in degrees."""
    folder = tmp_path_factory.mktemp(request.param)
    world, draft = World(folder / "world"), Draft()
    for number, band in enumerate(BANDS):
        values = noise(number)
        values[HOLE] = np.nan
        world.add(values, band, unit="reflectance")
    model = draft.model(draft.node("Identity", "x"), n_in=4, n_out=4)
    entry = {"name": "x", "bands": list(BANDS), "tw:resampling": "nearest"}
    image = {"tw:image": "clear"} if request.param == "image" else {}
    told = {"name": "y", "tw:layers": list(BANDS), "tw:unit": "reflectance", **image}
    card = write_card(folder / "card", model, inputs=[entry], outputs=[told], name="clear")
    job = pixel_job(world, card, folder / "out", rows=ROWS, cols=COLS)
    if request.param == "degrees":
        grid = job.grid.model_copy(update={"crs": "EPSG:4326", "resolution": 0.0001, "bounds": None})
        job = job.model_copy(update={"grid": grid})
    run(job)
    return folder / "out", request.param


def test_titiler_draws_each_render_with_the_holes_where_they_are(made):
    folder, kind = made
    app = FastAPI()
    app.include_router(MultiBaseTilerFactory(reader=STACReader).router, prefix="/stac")
    client = TestClient(app)
    renders = json.loads((folder / "item.json").read_text())["properties"]["renders"]
    assert set(renders) == ({"clear"} if kind == "image" else set(BANDS))
    for name, render in renders.items():
        words = {"url": str(folder / "item.json"), **words_of(render)}
        answer = client.get("/stac/preview.png", params=words)
        assert answer.status_code == 200, answer.text
        with rasterio.open(io.BytesIO(answer.content)) as drawn, rasterio.open(folder / f"{name}.tif") as file:
            picture, values = drawn.read(), file.read(3 if kind == "image" else 1)
        assert np.array_equal(picture[-1] > 0, np.isfinite(values)), name
        assert picture.shape[0] == 4
        assert picture[:3][:, np.isfinite(values)].std() > 10, "what is there is no flat colour"


def test_odc_stac_loads_it_on_its_own_grid(made):
    folder, kind = made
    loaded = odc.stac.load([pystac.Item.from_file(str(folder / "item.json"))])
    with rasterio.open(folder / ("clear.tif" if kind == "image" else "red.tif")) as file:
        red = file.read(3 if kind == "image" else 1)
        assert loaded.odc.crs == file.crs
        name = "red" if "red" in loaded else "clear.3"
        assert np.array_equal(loaded[name].to_numpy()[0], red, equal_nan=True)
    if kind != "degrees":
        assert np.array_equal(red[np.isfinite(red)], noise(2)[HERE][np.isfinite(red)])


def test_the_one_line_draws_it(made):
    mpl.use("Agg")
    folder, kind = made
    product = tw.open(folder)
    axes = product.plot("clear" if kind == "image" else "red")
    axes.figure.canvas.draw()
    (drawn,) = axes.images
    red = product["red"].to_numpy()
    if kind == "image":
        pixels = np.asarray(drawn.get_array())
        assert np.array_equal(pixels[..., 3] > 0, np.isfinite(red))
        # Brighter in red is brighter in the picture.
        seen = np.isfinite(red)
        assert np.corrcoef(pixels[..., 0][seen], red[seen])[0, 1] > 0.95
    else:
        assert np.array_equal(np.ma.getmaskarray(drawn.get_array()), ~np.isfinite(red))
    mpl.pyplot.close("all")
