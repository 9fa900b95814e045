"""Jobs and cards of absurd sizes: refused in one sentence that says what to change, or planned, at once either way."""

from __future__ import annotations

import copy
import json
import math
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from shapely.geometry import shape
from typer.testing import CliRunner

from tests.support.products import tilewright, write_job
from tests.support.worlds import area, bounds
from tilewright.flows.cli.main import app

SECONDS, MEGABYTES = 5, 1024
"""Of one core and of address space beyond what the process has."""

HANGS = 60
"""Seconds after which a command is broken off, on a machine with other work to do."""

SIDE = 64
WEST, SOUTH, EAST, NORTH = bounds((0, SIDE), (0, SIDE))
EARTH = [-180, -80, 180, 84]
GERMANY = [5.9, 47.3, 15.0, 55.0]
AROUND = shape(area((2, 20), (2, 20))).bounds
MIDDLE = (AROUND[0] + AROUND[2]) / 2, (AROUND[1] + AROUND[3]) / 2
DIGITS = int("9" * 4000)
LONG = "n" * 10**6

Case = tuple[str, dict[str, Any], str | None]
"""What it is called, the job's keys, and words of the refusal, None where the job is planned."""


def grid(**options: Any) -> dict[str, Any]:
    return {"grid": {"crs": "EPSG:32633", **options}}


def earth(crs: str, resolution: float, **more: Any) -> dict[str, Any]:
    return {"area": EARTH, "grid": {"crs": crs, "resolution": resolution}, **more}


def square(x: float, y: float, side: float) -> list[list[list[float]]]:
    return [[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]]


def polygons(n: int, side: float, around: Sequence[float]) -> dict[str, Any]:
    """So many squares in rows of 100 within a box, as a MultiPolygon."""
    west, south, east, north = around
    rows = n // 100
    parts = [
        square(west + (east - west) * (i % 100) / 100, south + (north - south) * (i // 100) / rows, side)
        for i in range(n)
    ]
    return {"type": "MultiPolygon", "coordinates": parts}


def ring(n: int, jag: float) -> dict[str, Any]:
    """A circle of so many corners, with spikes of a share of its radius."""
    angles = [2 * math.pi * i / n for i in range(n)]
    spikes = [0.001 * (1 + jag * math.sin(i)) for i in range(n)]
    corners = [
        [MIDDLE[0] + r * math.cos(angle), MIDDLE[1] + r * math.sin(angle)]
        for r, angle in zip(spikes, angles, strict=True)
    ]
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


GRIDS: list[Case] = [
    ("a nanometre", grid(resolution=1e-9), "grid.resolution = 1e-09"),
    ("below a nanometre", grid(resolution=1e-300), "grid.resolution = 1e-300"),
    ("the least float", grid(resolution=5e-324), "too fine"),
    ("a million kilometres", grid(resolution=1e9), "holds no pixel's centre"),
    ("the largest float", grid(resolution=1e308), "grid.resolution"),
    ("0.1 mm over a country", {"area": GERMANY, **grid(resolution=1e-4)}, "grid.resolution = 0.0001"),
    ("10 cm over a country", {"area": GERMANY, **grid(resolution=0.1)}, "cog.max_side"),
    ("a country in blocks of one window", {"area": GERMANY, **grid(resolution=10)}, "limits.blocks"),
    ("degrees taken for metres", grid(bounds=[13.1, 48.2, 13.2, 48.3]), "grid.bounds if they miss"),
    ("metres taken for degrees", {"grid": {"crs": "EPSG:4326", "resolution": 10}}, "is not in degrees"),
    (
        "bounds in metres in degrees",
        {"grid": {"crs": "EPSG:4326", "resolution": 1e-4, "bounds": [WEST, SOUTH, EAST, NORTH]}},
        "leave the globe",
    ),
    ("1e18 pixels", grid(resolution=2, bounds=[-1e9, -1e9, 1e9, 1e9]), "cog.max_side"),
    ("1 x 1e9", grid(resolution=1, bounds=[WEST, SOUTH, WEST + 1, 1e9]), "cog.max_side"),
    ("1e9 x 1", grid(resolution=1, bounds=[WEST, SOUTH, 1e9, SOUTH + 1]), "cog.max_side"),
    ("wide bounds around a small area", grid(bounds=[WEST - 1e7, SOUTH, EAST + 1e7, NORTH]), None),
    ("no width", grid(bounds=[WEST, SOUTH, WEST, NORTH]), "are empty"),
    ("a width below a pixel's edge", grid(bounds=[WEST + 1e-9, SOUTH, WEST + 2e-9, NORTH]), "no pixel"),
    ("one pixel", grid(bounds=[WEST, SOUTH, WEST + 10, SOUTH + 10]), None),
    ("bounds of nothing", grid(bounds=[0, 0, 0, 0]), "are empty"),
    ("bounds the wrong way round", grid(bounds=[EAST, NORTH, WEST, SOUTH]), "are empty"),
    ("bounds of truths", grid(bounds=[True, False, True, True]), "not true or false"),
    ("a resolution of truth", grid(resolution=True), "not true or false"),
    ("a resolution of digits", grid(resolution=DIGITS), "a whole number of"),
    ("bounds of digits", grid(bounds=[-DIGITS, -DIGITS, DIGITS, DIGITS]), "a whole number of"),
    ("a resolution of inf", grid(resolution="inf"), "finite"),
    ("a resolution of NaN", grid(resolution=math.nan), "finite"),
    ("a CRS of a megabyte", grid(crs=LONG), "expected utm"),
    (
        "files of 512 px over the Earth",
        earth("EPSG:6933", 10, cog={"max_side": 512}, tile={"block": 32768}),
        "cog.max_side",
    ),
]

AREAS: list[Case] = [
    ("the Earth at 10 m", earth("EPSG:6933", 10), "limits.blocks"),
    ("the Earth at 10 m in large blocks", earth("EPSG:6933", 10, tile={"block": 32768}), None),
    ("the Earth at 1e-4 degrees", earth("EPSG:4326", 1e-4), "limits.blocks"),
    ("the Earth in Europe's grid", earth("EPSG:3035", 10), "limits.blocks"),
    (
        "the whole Earth with its poles",
        {"area": [-180, -90, 180, 90], "grid": {"crs": "EPSG:6933", "resolution": 10000}},
        None,
    ),
    ("4,000 parts", {"area": polygons(4_000, 1e-5, AROUND), **grid()}, None),
    ("4,000 parts below a pixel", {"area": polygons(4_000, 1e-9, AROUND), **grid()}, "no pixel's centre"),
    (
        "4,000 parts over the Earth",
        {"area": polygons(4_000, 1e-3, (-170, -60, 170, 60)), "grid": {"crs": "EPSG:6933", "resolution": 10}},
        "No scenes",
    ),
    ("a ring of 20,000 corners", {"area": ring(20_000, 0), **grid()}, None),
    ("a ring of 20,000 spikes", {"area": ring(20_000, 0.1), **grid()}, None),
    ("a point", {"area": {"type": "Point", "coordinates": [13.65, 48.74]}}, "a Point has no area"),
    (
        "a line",
        {"area": {"type": "LineString", "coordinates": [[13.65, 48.74], [13.66, 48.75]]}},
        "a LineString has no area",
    ),
    (
        "1e-12 m2",
        {"area": {"type": "Polygon", "coordinates": square(13.65, 48.74, 1e-11)}, **grid()},
        "no pixel's centre",
    ),
    (
        "less than a float's step",
        {"area": {"type": "Polygon", "coordinates": square(13.65, 48.74, 1e-17)}},
        "not valid",
    ),
    (
        "a sliver around the Earth",
        {"area": [-170, 48.75, 170, 48.75 + 1e-9], "grid": {"crs": "EPSG:4326", "resolution": 1e-4}},
        "no pixel's centre",
    ),
    ("a box of digits", {"area": ",".join(["9" * 4000] * 4)}, "leaves the globe"),
    ("a box of truths", {"area": [True, True, False, False]}, "four numbers"),
    ("a box of NaN", {"area": [math.nan] * 4}, "leaves the globe"),
    ("a box of 100,000 numbers", {"area": [1] * 100_000}, "four numbers"),
    ("a name of a megabyte as an area", {"area": LONG}, "cannot be read"),
]

TILES: list[Case] = [
    *(
        (f"tile.{key} of {str(value)[:9]}", {"tile": {key: value}}, f"tile.{key}")
        for key in ("block", "step", "batch")
        for value in (10**9, 0, -1, 1.5, True, 10**30, "inf", math.nan, [], LONG)
    ),
    ("a batch of digits", {"tile": {"batch": DIGITS}}, "a whole number of"),
    ("a block of one pixel", {"tile": {"block": 1, "step": 1}}, None),
    ("the largest block", {"tile": {"block": 32768}}, None),
    (
        "blocks of a pixel over a degree",
        {"area": [13, 48, 14, 49], "grid": {}, "tile": {"block": 1, "step": 1}},
        "limits.blocks",
    ),
]

OPTIONS: list[Case] = [
    ("a thousand million blocks", {"limits": {"blocks": 10**9}}, "limits.blocks"),
    ("no blocks", {"limits": {"blocks": 0}}, "limits.blocks"),
    ("truth as a limit", {"limits": {"items": True}}, "limits.items"),
    ("a halo far larger than the area", {"mask": {"dilation": 1e9}}, "mask.dilation"),
    ("a million classes to drop", {"mask": {"drop": list(range(100_000))}}, "mask.drop"),
    ("truth as a threshold", {"mask": {"kind": "probability", "threshold": True}}, "not true or false"),
    ("layers 10,000 times", {"layers": ["class"] * 10_000}, None),
    ("10,000 unknown layers", {"layers": [f"l{i}" for i in range(10_000)]}, "not given by"),
    ("a layer of a megabyte", {"layers": [LONG]}, "not given by"),
    ("a name of a megabyte", {"name": LONG}, "name"),
    ("a name of two lines", {"name": "a\nb"}, "name"),
    ("a name that ends its line", {"name": "ab\n"}, "name"),
    ("10,000 models", {"ensemble": ["ndwi-water"] * 10_000}, "ensemble.models"),
    ("a model of a megabyte", {"model": LONG}, "model"),
    ("a key of a megabyte", {LONG: 1}, "unknown key"),
    ("a file of a pixel", {"cog": {"max_side": 1}}, "cog.max_side"),
]

PERIODS: list[Case] = [
    ("a moment", {"period": "2023-06-10T10:00:00Z"}, None),
    ("a second", {"period": "2023-06-10T10:00:00Z/2023-06-10T10:00:01Z"}, None),
    ("300 years", {"period": "1900-01-01/2199-12-31"}, None),
    ("10,000 years", {"period": "0001-01-01/9999-12-31"}, "period"),
    ("a length of 10,000 years", {"period": "2023-06-01/P10000Y"}, "period"),
    ("a length of digits", {"period": f"2023-06-01/P{'9' * 4000}D"}, "period"),
    ("a year of digits", {"period": "2" * 4000}, "period"),
    ("a number", {"period": 10**30}, "period"),
    ("truth as a period", {"period": True}, "period"),
    ("10,000 periods", {"period": ["2023-06"] * 10_000}, "period"),
    ("a period's name of a megabyte", {"period": {LONG: "2023-06"}}, "period"),
]

CASES: list[Case] = [*GRIDS, *AREAS, *TILES, *OPTIONS, *PERIODS]


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    return write_job(tmp_path_factory.mktemp("absurd"), side=SIDE)


def changed(job: Path, **changes: Any) -> Path:
    path = job.with_name("changed.json")
    path.write_text(json.dumps({**json.loads(job.read_text()), **changes}))
    return path


class HangsError(BaseException):
    """A command is not done within a minute."""


def _hangs(*_: object) -> None:
    raise HangsError


@pytest.fixture
def answer() -> Iterator[Callable[..., tuple[int, str]]]:
    """(exit code, words on stderr) of a command run here, within the bounds."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    heard = signal.signal(signal.SIGALRM, _hangs)

    def run(*words: str) -> tuple[int, str]:
        if sys.platform == "linux":
            most = psutil.Process().memory_info().vms + MEGABYTES * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
        signal.alarm(HANGS)
        began = time.process_time()
        result = CliRunner().invoke(app, list(words))
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        assert time.process_time() - began < SECONDS
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stderr

    yield run
    signal.alarm(0)
    signal.signal(signal.SIGALRM, heard)
    resource.setrlimit(resource.RLIMIT_AS, before)


def assert_said(code: int, said: str, words: str | None) -> None:
    """It is planned, or refused in one sentence with these words."""
    sentences = [line for line in said.splitlines() if line.startswith("tilewright: ")]
    assert "Traceback" not in said
    assert len(said) < 2100
    if words is None:
        assert code == 0, said
        return
    assert (code, len(sentences)) == (2, 1), said
    assert words in sentences[0]


@pytest.mark.parametrize(("changes", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_job_of_absurd_size_is_planned_or_refused_at_once(job, answer, changes, words):
    assert_said(*answer("plan", str(changed(job, **changes))), words)


SEARCHED = [
    case for case in (*GRIDS, *AREAS, *PERIODS) if case[0].startswith(("the Earth", "bounds", "4,000", "10,000", "1e"))
]


@pytest.mark.parametrize("changes", [case[1] for case in SEARCHED], ids=[case[0] for case in SEARCHED])
def test_scenes_are_searched_for_jobs_of_absurd_size_at_once(job, answer, changes):
    code, said = answer("search", str(changed(job, **changes)))
    assert_said(code, said, None if code == 0 else "")


def nested(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one value among a card's properties."""

    def change(properties: dict[str, Any]) -> None:
        place: Any = properties
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


INPUT, OUTPUT = ("mlm:input", 0), ("mlm:output", 0)
CLASSES = [{"value": i, "name": f"c{i}"} for i in range(10_000)]


def repeated(key: str) -> Callable[[dict[str, Any]], None]:
    def change(properties: dict[str, Any]) -> None:
        properties[key] = properties[key] * 10_000

    return change


CARDS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    *(
        (f"{key} of {str(value)[:9]}", nested("tw:tile", key, value=value), f"tw:tile.{key}")
        for key in ("window", "step", "trim")
        for value in (10**7, -1, 1.5, True, 10**30, DIGITS, math.nan, LONG)
    ),
    ("10,000 classes", nested(*OUTPUT, "classification:classes", value=CLASSES), "at most 1024"),
    ("classes beyond a byte", nested(*OUTPUT, "classification:classes", value=CLASSES[:300]), "255"),
    (
        "a class of digits",
        nested(*OUTPUT, "classification:classes", value=[CLASSES[0], {"value": DIGITS, "name": "b"}]),
        "value",
    ),
    (
        "a class name of a megabyte",
        nested(*OUTPUT, "classification:classes", value=[{"value": 0, "name": LONG}, CLASSES[1]]),
        "at most 4096 characters",
    ),
    ("100,000 bands", nested("bands", value=[{"name": f"b{i}"} for i in range(100_000)]), "at most 1024"),
    ("100,000 bands of an input", nested(*INPUT, "bands", value=[f"b{i}" for i in range(100_000)]), "at most 1024"),
    ("an input 10,000 times", repeated("mlm:input"), "at most 1024"),
    ("an output 10,000 times", repeated("mlm:output"), "at most 1024"),
    (
        "10,000 scalings",
        nested(*INPUT, "value_scaling", value=[{"type": "offset", "value": 0}] * 10_000),
        "at most 1024",
    ),
    ("a scaling of digits", nested(*INPUT, "value_scaling", value=[{"type": "offset", "value": DIGITS}]), "value"),
    ("an output's name of a megabyte", nested(*OUTPUT, "name", value=LONG), "at most 4096 characters"),
    ("a layer's name of a megabyte", nested(*OUTPUT, "tw:layers", value=[LONG]), "tw:layers"),
    ("a layer 10,000 times", nested(*OUTPUT, "tw:layers", value=["class"] * 10_000), "at most 1024"),
    (
        "colours as a list",
        nested(
            *OUTPUT,
            "classification:classes",
            value=[{"value": 0, "name": "a", "color_hint": ["ff0000"] * 10_000}, CLASSES[1]],
        ),
        "color_hint",
    ),
    *(
        (f"an input of {shape}", nested(*INPUT, "input", "shape", value=shape), "input.shape")
        for shape in ([1, 4, 10**9, 10**9], [-1, 2, 10**30, 10**30], [DIGITS] * 4, [-1, 2, 32768, 32768], [-1] * 10_000)
    ),
    *(
        (f"an output of {shape}", nested(*OUTPUT, "result", "shape", value=shape), "result.shape")
        for shape in ([1, 2, 10**9, 10**9], [-1, 2, 32768, 32768], [0, 0, 0, 0])
    ),
    ("a unit of a megabyte", nested(*INPUT, "tw:unit", value=LONG), "at most 4096 characters"),
    ("a collection of a megabyte", nested(*INPUT, "tw:collection", value=LONG), "at most 4096 characters"),
    ("a resolution of digits", nested(*INPUT, "tw:resolution", value=DIGITS), "tw:resolution"),
    ("a resolution of NaN", nested(*INPUT, "tw:resolution", value=math.nan), "tw:resolution"),
    ("steps of digits", nested(*INPUT, "tw:dates", value={"kind": "series", "steps": DIGITS}), "steps"),
    (
        "a step a day for 10,000 years",
        nested(*INPUT, "tw:dates", value={"kind": "series", "every": "1 day", "steps": 3_652_500}),
        "steps",
    ),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in CARDS], ids=[case[0][:60] for case in CARDS])
def test_a_card_of_absurd_size_is_refused_at_once(job, answer, tmp_path, change, words):
    folder = Path(json.loads(job.read_text())["model"])
    card = json.loads((folder / "card.json").read_text())
    change(card["properties"])
    (tmp_path / "card.json").write_text(json.dumps(card))
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    assert_said(*answer("models", "check", "--trusted", str(tmp_path)), words)
    assert_said(*answer("plan", str(changed(job, model=str(tmp_path)))), words)


@pytest.mark.parametrize("name", ["1e18 pixels", "the Earth at 10 m", "a batch of digits", "10,000 models"])
def test_the_command_refuses_to_run_a_job_of_absurd_size(job, tmp_path, name):
    changes, words = next(copy.deepcopy(case[1:]) for case in CASES if case[0] == name)
    ended = tilewright("run", changed(job, **changes), "--output", tmp_path / "out")
    assert_said(ended.returncode, ended.stderr, words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [10**9, 0, -1, 1.5, DIGITS])
def test_a_number_of_workers_that_no_machine_has_is_refused(job, answer, workers):
    code, said = answer("run", str(job), "--workers", str(workers))
    assert code == 2
    assert "--workers" in said
    assert len(said) < 10_000


def test_a_job_of_the_usual_size_is_planned(job, answer):
    """All the refusals above are of their sizes, then, and of nothing else."""
    assert answer("plan", str(changed(job, area=area((-2, SIDE + 2), (-2, SIDE + 2)))))[0] == 0
