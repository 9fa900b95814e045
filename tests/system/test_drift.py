"""Drift on the embedded sample: winter for a model of summers, DN for reflectance, swapped bands, and right input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.paths import ROOT
from tests.support.places_cards import label_card, places_job, window_of, write_points
from tests.support.worlds import World
from tilewright.catalogs.sample.build import SAMPLE_AREA
from tilewright.flows.cli.main import app
from tilewright.flows.estimate.drift import look_for_drift
from tilewright.flows.job.job import make_job
from tilewright.flows.plan import make, raster
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.model_card import job_card
from tilewright.flows.run.outcome import closing_lines
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions

pytestmark = pytest.mark.usefixtures("small_pictures")

SUMMER, WINTER, CLOUDED_WINTER = "2022-06-10/2022-07-31", "2023-03-01/2023-03-10", "2022-02-01/2022-02-28"
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")


def job_of(sample: Path, output: Path, **changes: Any) -> Any:
    plain = {
        "name": "drift", "area": list(SAMPLE_AREA), "source": str(sample), "period": SUMMER,
        "model": "sample-landcover", "output": str(output),
    }  # fmt: skip
    return make_job({**plain, **changes}, base=output.parent)


def planned(job: Any) -> Any:
    """What a look at the plan of a job tells."""
    card = job_card(job)
    return look_for_drift(plan_job(job, card), card)


def swapped(sample: Path, first: str, second: str) -> dict[str, Any]:
    bands = {first: {"asset": second}, second: {"asset": first}}
    return {"href": str(sample), "bands": {"sentinel-2-l2a": bands}}


def unscaled(sample: Path, folder: Path) -> dict[str, Any]:
    """Source and model of a job that gives the DN of the sample's files as if they were reflectance."""
    files = []
    for path in sorted((sample / "sentinel-2-l2a").rglob("*.json")):
        item = json.loads(path.read_text())
        if item.get("type") != "Feature" or not item["properties"]["datetime"].startswith(("2022-06", "2022-07")):
            continue
        said = {"datetime": item["properties"]["datetime"], "collection": "mine", "scene": item["id"]}
        for band in BANDS:
            href = str((path.parent / item["assets"][band]["href"]).resolve())
            files.append({"href": href, "band": band, "unit": "reflectance", **said})
    card = shutil.copytree(ROOT / "models" / "builtin" / "sample-landcover", folder / "card")
    plain = json.loads((card / "card.json").read_text())
    plain["properties"]["mlm:input"][0] |= {"tw:collection": "mine", "tw:unit": "reflectance"}
    (card / "card.json").write_text(json.dumps(plain))
    return {"source": {"files": files}, "model": str(card), "mask": {"kind": "none"}}


@pytest.mark.parametrize("model", ["sample-landcover", "sample-change", "sample-fusion"])
def test_the_right_input_gives_no_alarm(sample, tmp_path, model):
    period: Any = {"before": "2021-06-10/2021-07-31", "after": SUMMER} if model == "sample-change" else SUMMER
    job = job_of(sample, tmp_path / "out", model=model, period=period)
    look = planned(job)
    report = run_job(job).report
    for rows in (look.rows, report["drift"]):
        assert [row["warning"] for row in rows] == [""] * len(rows)
        assert all(abs(band["difference"]) < 0.35 and 0.7 < band["ratio"] < 1.3 for r in rows for band in r["bands"])
    assert not look.warnings
    assert not [each for each in report["warnings"] if each.startswith("Input ")]
    # What a few places tell is what all of them do, nearly.
    near = zip(look.rows, report["drift"], strict=True)
    assert all(
        abs(a["difference"] - b["difference"]) < 0.3
        for x, y in near
        for a, b in zip(x["bands"], y["bands"], strict=True)
    )


@pytest.mark.parametrize("period", [WINTER, CLOUDED_WINTER])
def test_winter_for_a_model_of_summers_is_noticed_in_plan_and_report(sample, tmp_path, period):
    job = job_of(sample, tmp_path / "out", period=period)
    (said,) = planned(job).warnings
    outcome = run_job(job)
    report = outcome.report
    (row,) = report["drift"]
    assert f"  ! {row['warning']}" in closing_lines(outcome)
    for sentence in (said, row["warning"]):
        assert re.search(r"Input image: .*\bnir\b.*what the model was trained on", sentence), sentence
        assert "Another season" in sentence
    assert row["warning"] in report["warnings"]
    assert row["warning"][:40] in (tmp_path / "out" / "report.html").read_text()


def test_dn_for_reflectance_are_noticed_in_plan_and_report(sample, tmp_path):
    job = job_of(sample, tmp_path / "out", **unscaled(sample, tmp_path))
    (said,) = planned(job).warnings
    report = run_job(job).report
    for sentence in (said, report["drift"][0]["warning"]):
        assert "as DN do for reflectance" in sentence
        assert re.search(r"about \d\d,\d{3} times", sentence), sentence
    assert report["drift"][0]["warning"] in report["warnings"]


@pytest.mark.parametrize(("first", "second"), [("blue", "red"), ("red", "nir"), ("swir16", "swir22")])
def test_swapped_bands_are_noticed_and_named(sample, tmp_path, first, second):
    job = job_of(sample, tmp_path / "out", source=swapped(sample, first, second))
    look = planned(job)
    assert f"{first} looks like {second}; {second} looks like {first}" in look.warnings[0]
    if first == "blue":
        (row,) = run_job(job).report["drift"]
        assert row["swapped"] == [["blue", "red"], ["red", "blue"]]


def test_the_command_tells_it_before_the_run(sample, tmp_path):
    job = {
        "name": "winter", "area": list(SAMPLE_AREA), "source": str(sample), "period": WINTER,
        "model": "sample-landcover", "output": str(tmp_path / "out"),
    }  # fmt: skip
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job))
    said = CliRunner().invoke(app, ["plan", str(path)])
    assert said.exit_code == 0, said.output
    words = " ".join(said.output.split())
    assert "values far from what the model was trained on, in a look at" in words
    assert "! Input image: " in words
    plain = json.loads(CliRunner().invoke(app, ["plan", str(path), "--json"]).output)
    assert plain["drift"][0]["warning"]
    path.write_text(json.dumps({**job, "period": SUMMER}))
    words = " ".join(CliRunner().invoke(app, ["plan", str(path)]).output.split())
    assert "values of 6 bands not far from the training's mean and spread, in a look at 16 places" in words
    # A card that tells nothing of its inputs has no drift.
    path.write_text(json.dumps({**job, "model": "ndwi-water"}))
    said = CliRunner().invoke(app, ["plan", str(path)])
    assert "not far from the training" not in said.output
    assert "drift" not in json.loads(CliRunner().invoke(app, ["plan", str(path), "--json"]).output)


def test_a_plan_is_told_without_a_look_where_files_cannot_be_read(sample, tmp_path):
    copy = shutil.copytree(sample, tmp_path / "sample")
    job = job_of(copy, tmp_path / "out")
    card = job_card(job)
    plan = plan_job(job, card)
    for path in copy.rglob("*.tif"):
        path.write_bytes(b"")
    assert look_for_drift(plan, card) is None


def test_rows_of_places_sum_the_values_of_their_windows_whatever_the_units(tmp_path, monkeypatch):
    random = np.random.default_rng(5)
    values = random.normal(0.3, 0.1, (160, 160)).astype(np.float32)
    values[40:60, 30:90] = np.nan
    world = World(tmp_path / "world")
    world.add(values, "red", unit="reflectance")
    card = label_card(tmp_path / "card", **{"tw:statistics": [{"mean": 0.7, "stddev": 0.1}]})
    rows, cols = random.uniform(-20, 180, (2, 40))
    write_points(tmp_path / "p.parquet", rows, cols)
    first = run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "one")).report
    for module in (make, raster):
        monkeypatch.setattr(module, "ROWS_PER_UNIT", 7)
    again = run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "cut"), RunOptions(workers=2)).report
    (row,), (cut,) = first["drift"], again["drift"]
    assert (row["parts"], cut["parts"]) == (1, 6)
    assert {**row, "parts": 0} == {**cut, "parts": 0}
    windows = np.concatenate([window_of(values, *place).ravel() for place in zip(rows, cols, strict=True)])
    seen = windows[~np.isnan(windows)].astype(np.float64)
    assert row["bands"][0]["values"] == len(seen)
    assert row["bands"][0]["mean"] == pytest.approx(seen.mean(), abs=1e-6)
    assert row["warning"] in first["warnings"]
    assert "1 of 1 bands is far" in row["warning"]
    assert '<section id="drift">' in (tmp_path / "one" / "report.html").read_text()
