"""Whole runs whose answers are typed: the same map by every engine, masks and bands that a plan might not look at.

Every world is one row of pixels; the model hands its input on.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from onnx import TensorProto

from tests.reference.by_hand import CRS, Item, Rows, _, assert_rows, asset, box_of, item_of, observations, write_file
from tests.reference.granules import around
from tests.support.graphs import Draft
from tests.support.worlds import layer, run, write_card
from tilewright.flows.job.job import make_job
from tilewright.flows.plan import headers
from tilewright.flows.runners.quarantine import SetAsideError
from tilewright.tasks.cube.engines import ENGINES

WAYS = ("direct", *ENGINES)
SIZE = (1, 4)
DAYS = [f"2023-06-{10 + number}T10:00:00Z" for number in range(5)]


def band(path: Path, numbers: list[float], dtype: str = "float32", *, scale: float = 1.0, **said: Any) -> Any:
    """The asset of a file of one row; `scale` stands in its header alone."""
    write_file(path, np.array([numbers], dtype), header=said.get("nodata"))
    if scale != 1:
        with rasterio.open(path, "r+") as file:
            file.scales = (scale,)
    return asset(path, **said)


def scene(name: str, when: str, assets: dict[str, Any]) -> Item:
    """An item over the row."""
    return item_of(name, {"datetime": when, "platform": "one"}, assets, size=SIZE)


def mapped(folder: Path, *items: Item, bands: tuple[str, ...] = ("red",), **changes: Any) -> dict[str, np.ndarray]:
    """The layers and `observations` of a run; `card` are fields of the card's input, the rest is the job's."""
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    draft = Draft()
    shape = ["n", len(bands), "h", "w"]
    model = draft.model_many(
        [("x", TensorProto.FLOAT, shape)], [(draft.node("Identity", "x"), "y", TensorProto.FLOAT, shape)]
    )
    pixels = {
        "tw:resampling": "nearest",
        "tw:dates": {"kind": "composite", "reducer": "mean"},
        "tw:missing": {"fill": -1.0, "pad": "fill"},
        **changes.pop("card", {}),
    }
    result = {"name": "y", "dims": ("batch", "channel", "height", "width"), "tw:layers": list(bands)}
    card = write_card(folder / "card", model, inputs=[{"name": "x", "bands": list(bands), **pixels}], outputs=[result])
    plain = {
        "name": "world",
        "area": around(box_of(SIZE), CRS, 30.0),
        "period": "2023-06",
        "source": str(folder / "items.json"),
        "model": str(card),
        "grid": {"crs": CRS, "bounds": list(box_of(SIZE))},
        "mask": {"kind": "none"},
        **changes,
    }
    run(make_job(plain, base=folder, output=str(folder / "out")))
    found = {name: layer(folder / "out", name) for name in bands}
    return {**found, "observations": observations(folder / "out", box_of(SIZE))}


QUALITIES: dict[str, tuple[list[float], str, dict[str, Any], dict[str, Any], Rows]] = {
    "the highest bit beside the lowest": (
        [2**31 + 1, 2**31, 2**31 + 2, 1], "uint32", {"unit": "class"}, {"kind": "bits", "drop": [0]}, [[_, 5, 5, _]]
    ),
    "the lowest of many": (
        [2**24 + 1, 2**24, 2**30 - 1, 2], "int32", {"unit": "class"}, {"kind": "bits", "drop": [0]}, [[_, 5, _, 5]]
    ),
    "a class of values that the file calls nodata": (
        [0, 1, 2, 0], "uint8", {"unit": "class", "nodata": 0}, {"kind": "values", "drop": [1]}, [[5, _, 5, 5]]
    ),
    "the class that the file calls nodata is dropped": (
        [0, 1, 2, 0], "uint8", {"unit": "class", "nodata": 0}, {"kind": "values", "drop": [0]}, [[_, 5, 5, _]]
    ),
    "bits of a pixel that the file calls nodata": (
        [8, 4, 0, 12], "int16", {"unit": "class", "nodata": 4}, {"kind": "bits", "drop": [3]}, [[_, _, 5, _]]
    ),
    "a probability of which one is missing": (
        [10, 60, 255, 50], "uint8", {"unit": "1", "nodata": 255}, {"kind": "probability"}, [[5, _, _, 5]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", WAYS)
@pytest.mark.parametrize("name", QUALITIES)
def test_a_mask_judges_stored_numbers_whichever_library_lays_the_bands_out(
    tmp_path: Path, name: str, engine: str
) -> None:
    numbers, dtype, said, mask, expected = QUALITIES[name]
    assets = {"red": band(tmp_path / "red.tif", [5] * 4), "state": band(tmp_path / "q.tif", numbers, dtype, **said)}
    found = mapped(tmp_path, scene("a", DAYS[0], assets), mask={"band": "state", **mask}, engine=engine)
    assert_rows(found["red"], expected)
    assert_rows(found["observations"], ~np.isnan(np.array(expected)))


@pytest.mark.parametrize("engine", WAYS)
def test_a_rule_over_a_band_of_the_input_is_in_the_unit_of_the_files(tmp_path: Path, engine: str) -> None:
    assets = {"vv": band(tmp_path / "vv.tif", [-10, -20, -3, -30], unit="db")}
    found = mapped(
        tmp_path,
        scene("a", DAYS[0], assets),
        bands=("vv",),
        card={"tw:unit": "linear"},
        mask={"kind": "rule", "rule": ["vv > -5"]},
        engine=engine,
    )
    assert_rows(found["vv"], [[0.1, 0.01, _, 0.001]])


SCALED: dict[str, tuple[list[float], str, float, dict[str, Any], Rows]] = {
    "rule": ([1000, 3000, 2000, 4000], "uint16", 1e-4, {"kind": "rule", "rule": ["other > 0.25"]}, [[5, _, 5, _]]),
    "rule of two bands": (
        [1000, 3000, 2000, 4000], "int16", 1e-2, {"kind": "rule", "rule": ["other - red > 20"]}, [[5, _, 5, _]]
    ),
    "probability": ([10, 30, 70, 200], "uint8", 0.5, {"kind": "probability", "threshold": 20}, [[5, 5, _, _]]),
    "probability in parts": (
        [0.1, 0.3, 0.7, 1], "float32", 100, {"kind": "probability", "threshold": 50}, [[5, 5, _, _]]
    ),
    "values are never scaled": ([1, 3, 7, 2], "uint8", 0.5, {"kind": "values", "drop": [1]}, [[_, 5, 5, 5]]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALED)
def test_the_scale_in_the_header_of_a_band_that_only_the_mask_takes_is_used(tmp_path: Path, name: str) -> None:
    numbers, dtype, scale, mask, expected = SCALED[name]
    unit = {"unit": "class"} if mask["kind"] == "values" else {}
    assets = {
        "red": band(tmp_path / "red.tif", [5] * 4),
        "other": band(tmp_path / "other.tif", numbers, dtype, scale=scale, **unit),
    }
    named = {} if mask["kind"] == "rule" else {"band": "other"}
    assert_rows(mapped(tmp_path, scene("a", DAYS[0], assets), mask={**mask, **named})["red"], expected)


@pytest.mark.parametrize("having", [[1], [3], [0, 3], [1, 3], [0, 1, 3, 4]])
def test_the_scale_in_the_header_of_a_band_that_some_scenes_have_is_used(tmp_path: Path, having: list[int]) -> None:
    items = []
    for number, when in enumerate(DAYS):
        assets = {"red": band(tmp_path / f"red{number}.tif", [50] * 4, "uint16", scale=0.01)}
        if number in having:
            assets["nir"] = band(tmp_path / f"nir{number}.tif", [30] * 4, "uint16", scale=0.02)
        items.append(scene(f"s{number}", when, assets))
    found = mapped(tmp_path, *items, bands=("red", "nir"))
    assert_rows(found["red"], [[0.5] * 4])
    assert_rows(found["nir"], [[0.6] * 4])
    assert_rows(found["observations"], [[len(having)] * 4])


@pytest.mark.parametrize(
    ("unit", "reducer", "bands", "expected"),
    [
        ("reflectance", "medoid", {"a": {"red": 1}, "b": {"nir": 3}}, _),
        ("reflectance", "best-pixel", {"a": {"red": 1}, "b": {"nir": 3}}, _),
        ("reflectance", "medoid", {"a": {"red": 1}, "b": {"nir": 3}, "c": {"red": 2, "nir": 4}}, 2),
        ("reflectance", "mean", {"a": {"red": 1}, "b": {"nir": 3}}, 1),
        ("db", "mean", {"a": {"red": 0, "nir": 1}}, _),
        ("db", "median", {"a": {"red": 1, "nir": -0.5}, "b": {"red": 1, "nir": 0.1}}, _),
        (
            "db",
            "percentile:50",
            {"a": {"red": 1, "nir": 1}, "b": {"red": -0.5, "nir": 1}, "c": {"red": 1, "nir": 1}},
            0,
        ),
    ],
)
def test_passes_that_together_give_no_value_are_no_observation(
    tmp_path: Path, unit: str, reducer: str, bands: dict[str, dict[str, float]], expected: float
) -> None:
    stored = "linear" if unit == "db" else unit
    items = [
        scene(
            name,
            DAYS[number],
            {key: band(tmp_path / f"{name}-{key}.tif", [value] * 4, unit=stored) for key, value in numbers.items()},
        )
        for number, (name, numbers) in enumerate(bands.items())
    ]
    dates = {"kind": "composite", "reducer": reducer}
    found = mapped(tmp_path, *items, bands=("red", "nir"), card={"tw:unit": unit, "tw:dates": dates})
    assert_rows(found["red"], [[expected] * 4])
    assert ((found["observations"] > 0) == (not np.isnan(expected))).all()


@pytest.mark.parametrize("looked", ["in time", "too late"])
def test_a_header_that_the_plan_could_not_look_at_is_never_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked: str
) -> None:
    if looked == "too late":
        look = headers._header

        def slow(*asked: object) -> object:
            time.sleep(0.3)
            return look(*asked)

        monkeypatch.setattr(headers, "BUDGET_S", 0.0)
        monkeypatch.setattr(headers, "_header", slow)
    item = scene("a", DAYS[0], {"red": band(tmp_path / "red.tif", [50] * 4, "uint16", scale=0.01)})
    if looked == "in time":
        assert_rows(mapped(tmp_path, item)["red"], [[0.5] * 4])
    else:
        with pytest.raises(SetAsideError, match=r"the header says scale 0\.01 and offset 0"):
            mapped(tmp_path, item)
