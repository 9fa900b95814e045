"""A finished product whose words are hostile: names of classes, layers, scenes and the product itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.support.finished import finished, some_map
from tests.support.report_pages import HOSTILE

HOSTILE_CLASSES = (
    {"value": 0, "name": HOSTILE, "color": "D9D4C7", "area_km2": 2.0, "percent": 60.0, "pixels": 5},
    {"value": 1, "name": r"_$\frac{x}{$", "color": '"><b>', "area_km2": 1.0, "percent": 40.0, "pixels": 4},
    {"value": 2, "name": "wet\n\x1b[31m\u202eland", "pixels": 1},
)


@pytest.fixture(scope="session")
def hostile(whole, tmp_path_factory):
    """Its folder, and the values of its layer of classes."""
    values = some_map(3, (256, 256))
    numbers = {"height": np.where(values == 255, np.nan, values * 10.0).astype(np.float32)}
    folder = finished(
        whole,
        tmp_path_factory.mktemp("hostile") / "out",
        values,
        classes=HOSTILE_CLASSES,
        numbers=numbers,
        units={"height": f"m{HOSTILE}"},
        name=HOSTILE,
        warnings=[HOSTILE],
        model={"name": HOSTILE},
        exact_reason=HOSTILE,
        tables=[{"name": HOSTILE, "file": "manifest.parquet", "rows": 3}],
    )
    report = json.loads((folder / "report.json").read_text())
    report["scenes"][0]["id"] = HOSTILE
    (folder / "report.json").write_text(json.dumps(report))
    return folder, values
