"""A run that compares two dates tells what changed: in figures, in sentences, and with places before and after."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from scipy import ndimage

from tests.support.worlds import World, pixel_job, run
from tilewright.flows.run.outcome import closing_lines

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE, BANDS = 128, ("blue", "green", "red", "nir")
PERIOD = {"before": "2023-06-01/2023-06-30", "after": "2023-09-01/2023-09-30"}
FIELD, ROAD = (slice(20, 60), slice(30, 80)), (slice(90, 94), slice(10, 110))


def scenes(folder: Path, *, changed: bool, cloudy: int = 0) -> World:
    """Two dates of one ground, of which a field and a road changed, or nothing; the first columns may be unseen."""
    world = World(folder / "scenes")
    before = np.full((SIDE, SIDE), 0.05, dtype=np.float32)
    after = before.copy()
    for place in (FIELD, ROAD) if changed else ():
        after[place] = 0.25
    for values, day in ((before, "2023-06-10"), (after, "2023-09-10")):
        values[:, :cloudy] = np.nan
        for band in BANDS:
            world.add(
                values, band, day=day, scene=day, collection="sentinel-2-l2a", scale=1.0, offset=0.0, unit="reflectance"
            )
    return world


def told_of(folder: Path, model: Any = "cva-change", **how: Any) -> tuple[Path, dict[str, Any], list[str]]:
    world = scenes(folder, **how)
    job = pixel_job(world, model, folder / "out", rows=(0, SIDE), cols=(0, SIDE), period=PERIOD)
    outcome = run(job)
    return Path(outcome.output), outcome.report, closing_lines(outcome)


def test_the_area_the_places_and_the_pictures_of_a_change(tmp_path):
    output, report, lines = told_of(tmp_path, changed=True)
    told = report["change"]
    with rasterio.open(output / "change.tif") as opened:
        changed = opened.read(1) == 1
    sizes = sorted(np.bincount(ndimage.label(changed)[0].ravel())[1:].tolist(), reverse=True)
    assert len(sizes) == 2
    assert told["n_places"] == 2
    assert [place["area_m2"] for place in told["places"]] == pytest.approx([size * 100 for size in sizes], rel=2e-3)
    assert told["changed_percent"] == pytest.approx(100 * changed.sum() / (report["area_km2"] * 1e4), rel=2e-3)
    assert json.loads((output / "report.json").read_text())["change"] == told
    assert told["summary"][0].split(" changed, ")[1].endswith(" observed.")
    assert "The largest of 2 changed places covers" in told["summary"][-1]
    assert all(f"  {sentence}" in lines for sentence in told["summary"])
    page = (output / "report.html").read_text()
    assert all(sentence in page for sentence in told["summary"])
    section = page[page.index('<section id="change">') :]
    section = section[: section.index("</section>")]
    shots = re.findall(r'src="data:image/(\w+);base64,([^"]+)" alt="(\w+):', section)
    assert [(kind, title) for kind, _, title in shots] == [("webp", "before"), ("webp", "after"), ("png", "map")] * 2
    before, after = (np.array(Image.open(io.BytesIO(base64.b64decode(shot)))) for _, shot, _ in shots[:2])
    # The field became brighter, which the middle of its picture shows.
    middle = before.shape[0] // 2, before.shape[1] // 2
    assert before.shape == after.shape
    assert after[middle][:3].min() > before[middle][:3].max() + 40


def test_no_change_and_nothing_seen_are_said(tmp_path):
    _, report, _ = told_of(tmp_path / "same", changed=False, cloudy=40)
    told = report["change"]
    assert (told["changed_km2"], told["n_places"], told["places"]) == (0, 0, [])
    assert told["summary"][0].startswith("Nothing changed on the ")
    assert told["summary"][1].startswith("Of the area asked for, ")
    _, report, _ = told_of(tmp_path / "unseen", changed=False, cloudy=SIDE)
    assert report["change"]["summary"] == ["No pixel was observed, so nothing can be said of a change."]


def test_other_runs_tell_of_no_change(whole):
    assert "change" not in json.loads((whole / "report.json").read_text())
    assert '<section id="change">' not in (whole / "report.html").read_text()
