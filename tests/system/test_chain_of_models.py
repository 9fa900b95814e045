"""A chain of real cards on the embedded sample: an image without clouds, and the built-in land cover of it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from tests.support.graphs import Draft
from tests.support.worlds import layer, write_card
from tilewright.catalogs.sample.build import SAMPLE_AREA, SAMPLE_WATER_PERIOD
from tilewright.flows.chain.chain import make_chain
from tilewright.flows.chain.run import run_chain
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job

pytestmark = pytest.mark.usefixtures("small_pictures")

RIM = 32
"""Pixels, more than the model's reach."""

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")


def test_land_cover_of_a_cloud_free_image_is_that_of_the_scenes_it_was_made_of(sample, tmp_path):
    """The card of Sentinel-2's bands takes the image for what it is: no offset, no scale of DN, no clouds in it.

    The image is the median that the card would have taken itself, so that the maps are equal but for rounding.
    """
    draft = Draft()
    n = len(BANDS)
    model = draft.model(draft.node("Mul", "x", draft.constant([1.0])), n_in=n, n_out=n)
    entry = {"name": "x", "bands": list(BANDS), "tw:collection": "sentinel-2-l2a", "tw:resolution": 10}
    output = {"name": "y", "tw:layers": list(BANDS), "tw:unit": "reflectance", "tw:image": "clear"}
    card = write_card(tmp_path / "card", model, inputs=[entry], outputs=[output], name="clear")
    west, south, _, _ = SAMPLE_AREA
    shared = {"area": [west + 0.03, south + 0.02, west + 0.05, south + 0.035], "period": SAMPLE_WATER_PERIOD}
    jobs = [
        {"name": "clear", "model": str(card), "source": str(sample / "catalog.json")},
        {"name": "cover", "model": "sample-landcover", "sources": {"sentinel-2-l2a": "clear"}},
    ]
    list(run_chain(make_chain({**shared, "jobs": jobs, "output": str(tmp_path / "out")}, base=tmp_path)))
    with rasterio.open(tmp_path / "out" / "clear" / "clear.tif") as dataset:
        assert dataset.descriptions == BANDS
        assert 0 < np.nanmedian(dataset.read()) < 0.5
    alone = {**shared, "name": "alone", "model": "sample-landcover", "source": str(sample / "catalog.json")}
    run_job(make_job({**alone, "output": str(tmp_path / "alone")}, base=tmp_path))
    found, expected = (layer(tmp_path / place, "class") for place in ("out/cover", "alone"))
    # Nothing lies beyond the image, which ends at its area: the model looks so far at the rim, and sees nothing there.
    inside = (slice(RIM, -RIM), slice(RIM, -RIM))
    # A median of stored numbers is rounded once, one that was stored as float32 twice.
    assert (found[inside] != expected[inside]).mean() < 0.0005
    assert len(np.unique(expected)) > 3
