"""Vectors beside maps that have smaller levels: the store is whole, and a run goes on where it was broken off."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from tests.support.embedders import BANDS, WEIGHTS, pixel_encoder
from tests.support.worlds import World, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Advance

pytestmark = pytest.mark.usefixtures("small_pictures")
ROWS, COLS = (3, 1163), (5, 645)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(8)
    made.bands = [random.uniform(0.05, 0.5, (1200, 700)).astype(np.float32) for _ in BANDS]
    for band, values in zip(BANDS, made.bands, strict=True):
        values[200:500, 100:300] = np.nan
        made.add(values, band, unit="reflectance")
    return made


@pytest.mark.parametrize("block", [128, 320])
def test_a_product_of_several_levels_is_whole_and_goes_on(world, tmp_path, block):
    card = pixel_encoder(tmp_path / "card", told={"storage": "int8"})
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": block})
    seen = []

    def breaking(event):
        seen.append(isinstance(event, Advance) and bool(event.block))
        if sum(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, RunOptions(workers=1), listener=breaking)
    report = run_world(job, workers=2).report
    assert 0 < report["blocks_made"] < report["blocks"]
    group = zarr.open_group(tmp_path / "out/data.zarr", mode="r")
    levels = {*group["overviews/2"].array_keys()}
    assert "observations" in levels
    assert not levels & {"vectors", "vectors_scale"}
    stacked = np.stack([each[slice(*ROWS), slice(*COLS)] for each in world.bands])
    expected = np.moveaxis(np.tensordot(WEIGHTS, stacked, axes=1), 0, -1)
    scales = np.asarray(group["vectors_scale"])
    found = np.asarray(group["vectors"]) * scales[..., None]
    assert np.array_equal(np.isnan(scales), np.isnan(expected).any(axis=-1))
    assert (np.abs(found - expected) <= 0.501 * scales[..., None])[~np.isnan(scales)].all()
    assert run_world(job).report["blocks_made"] == report["blocks_made"]
    (tmp_path / "out/item.json").unlink()
    assert run_world(job).report["blocks_made"] == 0
