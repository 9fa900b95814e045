"""Answers in words: a table of what is said of each window, the same however the work is cut, and checked by field."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from tests.support.speakers import answer, speaker
from tests.support.worlds import COL, ROW, World, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions

pytest.importorskip("tokenizers", reason="the extra `find` is not installed")
pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE, STEP = 160, 16
ROWS = COLS = (0, SIDE)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(4)
    tenths = random.integers(0, 11, (SIDE // STEP, SIDE // STEP)) / 10 + 0.04
    values = tenths.repeat(STEP, axis=0).repeat(STEP, axis=1).astype(np.float32)
    values[:16, :32] = np.nan
    made.add(values, "red", unit="reflectance")
    made.values = values
    return made


def said(output: Path | str, name: str = "caption") -> dict[tuple[int, int], str]:
    """The answers by the row and column of their window."""
    table = pq.read_table(Path(output) / f"{name}.parquet")
    bounds = shapely.bounds(shapely.from_wkb(table.column("geometry").to_pylist()))
    assert table.column("id").to_pylist() == list(range(1, table.num_rows + 1))
    assert (np.abs(bounds[:, 2:] - bounds[:, :2] - STEP * 10) < 1e-6).all()
    rows = np.rint(-bounds[:, 3] / 10 - ROW).astype(int) // STEP
    cols = np.rint(bounds[:, 0] / 10 - COL).astype(int) // STEP
    return dict(zip(zip(rows.tolist(), cols.tolist(), strict=True), table.column("text").to_pylist(), strict=True))


def expected(world) -> dict[tuple[int, int], str]:
    means = world.values.reshape(SIDE // STEP, STEP, SIDE // STEP, STEP).mean(axis=(1, 3))
    return {
        (row, col): answer(float(means[row, col]))
        for row, col in np.ndindex(means.shape)
        if np.isfinite(means[row, col])
    }


def test_a_window_is_named_as_its_mean_says(world, tmp_path):
    report = run_world(pixel_job(world, speaker(tmp_path / "card", step=STEP), tmp_path / "out", rows=ROWS, cols=COLS))
    assert said(tmp_path / "out") == expected(world)
    (table,) = report.report["tables"]
    assert (table["name"], table["rows"]) == ("caption", len(expected(world)))
    item = json.loads((tmp_path / "out/item.json").read_text())
    assert item["assets"]["caption"]["type"] == "application/vnd.apache.parquet"
    assert report.report["exactness"] == "no"
    assert "three" in (tmp_path / "out/report.html").read_text()
