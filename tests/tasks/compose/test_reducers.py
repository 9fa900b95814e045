"""Every reducer a card can name, through one run over a small world; what must come out is said by numpy."""

from __future__ import annotations

import warnings
from datetime import date

import numpy as np
import pytest
from onnx import TensorProto
from scipy.ndimage import distance_transform_edt

from tests.support.graphs import Draft
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.models.card import parse_inputs as card_inputs
from tilewright.models.spec.inputs import REDUCERS
from tilewright.tasks.compose import reducers as reducing
from tilewright.tasks.compose.reducers import CLOUD_DISTANCE_M
from tilewright.tasks.compose.selection import DAYS_SPREAD

SIDE, ROWS, COLS = 112, (9, 100), (13, 103)
HERE = slice(*ROWS), slice(*COLS)
DAYS = ("2023-06-02", "2023-06-09", "2023-06-14", "2023-06-21", "2023-06-27")
COVERS = (40, 3, 80, 11, 3)
PERCENTILES = ("percentile:0", "percentile:10", "percentile:33.3", "percentile:100")
BANDS = ("red", "nir")


def test_a_card_can_name_what_the_runtime_can_do_and_nothing_else():
    assert [reducing.parse_reducer(name)[0] for name in REDUCERS] == list(REDUCERS)
    for text in ("percentile:0", "percentile:7.5", "percentile:50", "percentile:100"):
        assert card_inputs.PERCENTILE.match(text)
        assert reducing.parse_reducer(text) == ("percentile", float(text.partition(":")[2]))
    for text in ("percentile:101", "percentile:-1", "percentile:", "percentile:nan"):
        assert not card_inputs.PERCENTILE.match(text)
        with pytest.raises(ValueError, match="is not known"):
            reducing.parse_reducer(text)


@pytest.fixture(scope="module")
def pixels():
    """Values (day, band, y, x) with holes that the bands of a day share."""
    random = np.random.default_rng(4)
    made = random.uniform(0, 1, (len(DAYS), len(BANDS), SIDE, SIDE)).astype(np.float32)
    made.transpose(0, 2, 3, 1)[random.random((len(DAYS), SIDE, SIDE)) < 0.35] = np.nan
    made[:, :, 40:44, 50:57] = np.nan
    return made


def by_hand(reducer, pixels):
    """The red of one reducer, (y, x) float64, NaN where there is no day."""
    red = pixels[:, 0].astype(np.float64)
    orders = {"first": range(5), "last": range(4, -1, -1), "least-cloudy": (1, 4, 3, 0, 2)}
    if reducer in orders:
        made = np.full(red.shape[1:], np.nan)
        for day in reversed(orders[reducer]):
            made = np.where(np.isnan(red[day]), made, red[day])
        return made
    if reducer in {"medoid", "best-pixel"}:
        chosen = medoid(pixels) if reducer == "medoid" else best(pixels)
        return np.take_along_axis(red, chosen[None], axis=0)[0]
    kernels = {"median": np.nanmedian, "mean": np.nanmean, "min": np.nanmin, "max": np.nanmax}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if reducer in kernels:
            return kernels[reducer](red, axis=0)
        return np.nanpercentile(red, float(reducer.partition(":")[2]), axis=0)


def medoid(pixels):
    apart = np.sqrt(np.nansum((pixels[:, None] - pixels[None]) ** 2, axis=2, dtype=np.float64))
    both = ~np.isnan(pixels[:, None, 0]) & ~np.isnan(pixels[None, :, 0])
    total = np.where(both, apart, 0).sum(axis=1)
    return np.where(np.isnan(pixels[:, 0]), np.inf, total).argmin(axis=0)


def best(pixels):
    reach = CLOUD_DISTANCE_M / 10
    middle = date.fromisoformat("2023-06-15").toordinal()
    scores = []
    for day, values in zip(DAYS, pixels[:, 0], strict=True):
        usable = np.pad(~np.isnan(values), int(reach) + 2)
        far = np.minimum(distance_transform_edt(usable), reach)[152:-152, 152:-152]
        closeness = np.exp(-0.5 * ((date.fromisoformat(day).toordinal() - middle) / DAYS_SPREAD) ** 2)
        score = 1 / (1 + np.exp(-10 / reach * (far - reach / 2))) + closeness
        scores.append(np.where(np.isnan(values), -np.inf, score))
    return np.argmax(scores, axis=0)


@pytest.mark.usefixtures("small_pictures")
def test_every_reducer_gives_what_numpy_gives_whatever_the_blocks(pixels, tmp_path):
    reducers = (*REDUCERS, *PERCENTILES)
    names = [f"r{number}" for number in range(len(reducers))]
    world = World(tmp_path / "world")
    for day, cover, bands in zip(DAYS, COVERS, pixels, strict=True):
        for band, values in zip(BANDS, bands, strict=True):
            world.add(values, band, day=day, unit="reflectance", cloud_cover=cover)
    draft = Draft()
    joined = draft.node("Concat", *names, axis=1)
    places = draft.constant(np.arange(0, 2 * len(names), 2))
    model = draft.model_many(
        [(name, TensorProto.FLOAT, ["batch", 2, "h", "w"]) for name in names],
        [(draft.node("Gather", joined, places, axis=1), "y", TensorProto.FLOAT, ["batch", len(names), "oh", "ow"])],
    )
    inputs = [
        {"name": name, "bands": BANDS, "tw:dates": {"reducer": reducer}, "tw:missing": {"fill": -1}}
        for name, reducer in zip(names, reducers, strict=True)
    ]
    card = write_card(tmp_path / "card", model, inputs=inputs, outputs=[{"name": "y", "tw:layers": names}])
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 128})
    output = run(job).output
    for name, reducer in zip(names, reducers, strict=True):
        expected = by_hand(reducer, pixels)[HERE]
        found = layer(output, name)
        assert np.array_equal(np.isnan(found), np.isnan(expected)), reducer
        assert np.nanmax(np.abs(found - expected)) < 1e-6, reducer
