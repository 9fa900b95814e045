"""Products of several dates held against labels with and without dates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest
from typer.testing import CliRunner

import tilewright as tw
from tests.support.layers import write_layers
from tilewright.flows.cli.main import app

PERIODS = {"june": "2021-06-01/2021-06-30", "july": "2021-07-01/2021-07-31"}
TO_DEGREES = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
AT = {"land": TO_DEGREES.transform(400_105, 5_399_945), "water": TO_DEGREES.transform(400_105, 5_399_705)}
"""Places in the upper and in the lower half of the products."""


@pytest.fixture
def products(tmp_path) -> Path:
    """June: land above, water below. July: the other way round."""
    for number, (name, period) in enumerate(PERIODS.items()):
        values = np.zeros((40, 40), np.uint8)
        values[20:] = 1
        folder = tmp_path / "out" / name
        write_layers(folder, {"class": values ^ number}, classes={"class": ["land", "water"]})
        start, end = period.split("/")
        report = json.loads((folder / "report.json").read_text())
        told = [{"label": "period", "start": f"{start}T00:00:00Z", "end": f"{end}T23:59:59Z"}]
        (folder / "report.json").write_text(json.dumps({**report, "name": name, "period": told}))
    (tmp_path / "out" / "notes").mkdir()
    (tmp_path / "out" / "readme.txt").write_text("mine")
    return tmp_path / "out"


def labels(folder: Path, rows: list[tuple[str, str, str]], *, dated: bool = True) -> Path:
    """Points: where (as June's map has it), what is said, and when."""
    lines = ["lon,lat,class,date" if dated else "lon,lat,class"]
    lines += [f"{AT[at][0]},{AT[at][1]},{said}" + (f",{when}" if dated else "") for at, said, when in rows]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


ROWS = [
    ("land", "land", "2021-06-01"),
    ("water", "water", "2021-06-30T23:30:00Z"),
    ("land", "water", "2021-06"),
    ("land", "water", "2021-07-01"),
    ("land", "land", "2021-07-31"),
    ("land", "land", "2020-06-15"),
    ("land", "land", ""),
]


def command(*words: object):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def test_a_label_is_held_against_the_product_of_its_date(products, tmp_path):
    file = labels(tmp_path, ROWS)
    said = command(products, file, "--to", tmp_path / "to")
    assert said.exit_code == 0, said.output
    told = json.loads((tmp_path / "to" / "evaluation.json").read_text())
    assert [each["name"] for each in told["dates"]] == ["june", "july"]
    june, july = (each["evaluation"] for each in told["dates"])
    assert (june["n"], june["confusion"]) == (3, [[1, 0], [1, 1]])
    assert (july["n"], july["confusion"]) == (2, [[0, 1], [0, 1]])
    assert (told["n_rows"], told["n_undated"], told["n_other_dates"]) == (7, 1, 1)
    assert (told["total"]["n"], told["total"]["confusion"]) == (5, [[1, 1], [1, 2]])
    assert told["total"]["overall_accuracy"] == 3 / 5
    assert "Not compared: 1 label of a date of no product" in " ".join(said.output.split())
    assert "1 label without a date in 'date'" in " ".join(said.output.split())
    for name in PERIODS:
        made = sorted(each.name for each in (tmp_path / "to" / name).iterdir())
        assert made == ["evaluation.html", "evaluation.json", "pairs.csv"]
    # The rows are those of the file.
    pairs = (tmp_path / "to" / "july" / "pairs.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in pairs[1:]] == ["4", "5"]
    assert "row 5 of the labels" in (tmp_path / "to" / "july" / "evaluation.html").read_text("utf-8")
    assert tw.evaluate(products, file) == told
    assert tw.evaluate(products, file, by="date") == told


def test_labels_without_dates_are_held_against_each(products, tmp_path):
    file = labels(tmp_path, [("land", "land", ""), ("water", "water", "")], dated=False)
    told = tw.evaluate(products, file)
    assert [each["evaluation"]["overall_accuracy"] for each in told["dates"]] == [1, 0]
    assert (told["column_of_dates"], told["total"]["n"]) == (None, 4)
    assert told["summary"][-1].startswith("labels.csv has no column of dates (date, datetime, time)")


def test_groups_are_those_of_each_product(products, tmp_path):
    told = tw.evaluate(products, labels(tmp_path, ROWS[:5]), by="season")
    assert [[*each["evaluation"]["groups"]] for each in told["dates"]] == [["JJA"], ["JJA"]]


def test_a_date_without_labels_is_said(products, tmp_path):
    told = tw.evaluate(products, labels(tmp_path, ROWS[:3]))
    assert [each["refused"] for each in told["dates"]] == [None, "no label is of its dates"]
    assert told["total"]["n"] == 3


def test_labels_of_one_product_outside_its_period_are_said_and_compared(products, tmp_path):
    told = tw.evaluate(products / "june", labels(tmp_path, ROWS[:5]))
    assert told["n"] == 5
    assert any("2 labels of labels.csv dated outside the product's period" in each for each in told["summary"])
    assert not any("dated" in each for each in tw.evaluate(products / "june", labels(tmp_path, ROWS[:3]))["summary"])


REFUSED = {
    "nowhere": ([ROWS[0]], [], "is a folder of 2 products: give --to DIR"),
    "in its place": ([ROWS[0]], ["--to", "out"], "out/june"),
    "trust": ([ROWS[0]], ["--trust", "0.9", "--to", "to"], "--trust is about one product"),
    "no date": ([("land", "land", "2021-13-45")], ["--to", "to"], "holds '2021-13-45': give dates as 2024-06-30"),
    "other dates": ([ROWS[5]], ["--to", "to"], "can be held against a product of"),
    "unknown": ([("land", "sea", "2021-06-03")], ["--to", "to"], "'sea'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(products, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    rows, words, told = REFUSED[name]
    said = command(products, labels(tmp_path, rows), *words)
    assert said.exit_code == 2, said.output
    assert told in " ".join(said.output.split())
    assert not (tmp_path / "to").exists()
