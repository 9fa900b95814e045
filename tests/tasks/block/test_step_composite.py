"""Composites of stored numbers and of floats over random worlds: the same bits, whatever files and items state."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import rasterio

from tests.support.scenes import LEFT, TOP, asset_of, grid, scene_of, write_raster
from tilewright.catalogs.passes import seeing_order
from tilewright.tasks.block import step_composite
from tilewright.tasks.block.step_composite import BlockInput, SeenPasses, composite_step
from tilewright.tasks.compose.cell_choice import LookCost, make_choice
from tilewright.tasks.compose.mask_rule import MaskRule
from tilewright.tasks.compose.steps import StepPlan
from tilewright.tasks.cube.stored_numbers import common_conversions
from tilewright.tasks.plan.inputs import InputPlan
from tilewright.tasks.read.access import Access
from tilewright.tasks.read.failures import FailureLog
from tilewright.tasks.read.resample.cells import locate

HEIGHT, WIDTH = 45, 37
BANDS = ("red", "nir")
STATES = [(1e-4, 0.0), (1e-4, -0.1), (0.0275, -0.2), (1.0, 0.0), (3.1e-5, 0.5)]
UNITS = [("reflectance", "reflectance")] * 3 + [("linear", "db"), ("linear", "linear"), ("db", "db")]
"""(unit of the files, unit of the input)."""

START = datetime(2023, 6, 1, tzinfo=UTC)


def written(folder, random, name, *, lie):
    """A file of random numbers, placed and typed at random, and its asset, which may state another type or marker."""
    dtype = random.choice([np.uint8, np.uint16, np.uint16, np.uint16])
    size = float(random.choice([10.0, 10.0, 20.0]))
    side = int(random.integers(20, 50))
    top = int(random.choice([65534, 65535, 9000, 40])) if dtype is np.uint16 else 255
    values = random.integers(0, top, (side, side), endpoint=True).astype(dtype)
    values[random.random(values.shape) < 0.3] = 0
    nodata = random.choice(np.array([None, 0, 0, 0, 255, 9000 if dtype is np.uint16 else 7, top], dtype=object))
    path = write_raster(
        folder / f"{name}.tif",
        values,
        left=LEFT + float(random.choice([0, -50, 40, 3.7])),
        top=TOP - float(random.choice([0, -50, 40, 6.2])),
        size=size,
        nodata=nodata,
    )
    if random.random() < 0.15:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
            target.write_mask(random.random(values.shape) > 0.2)
    stated = {}
    if lie and random.random() < 0.3:
        stated["dtype"] = str(random.choice(["uint8", "uint16", "int16", "float32"]))
    if lie and random.random() < 0.3:
        stated["nodata"] = float(random.choice([0, 1, 255, 65535]))
    return path, stated


def world(folder, seed):
    """(block input, seen passes) of a random step of two passes or more."""
    random = np.random.default_rng(seed)
    bands = BANDS[: random.integers(1, 3)]
    stored, wanted = UNITS[random.integers(len(UNITS))]
    resampling = str(random.choice(["nearest", "bilinear", "average", "cubic", "lanczos"]))
    scale, offset = STATES[random.integers(len(STATES))]
    lie, masked = bool(random.random() < 0.3), bool(random.random() < 0.5)
    scenes, looks, passes = {}, [], []
    for number in range(random.integers(2, 6)):
        members = []
        for place in range(random.integers(1, 3)):
            assets = []
            for band in bands:
                if len(bands) > 1 and random.random() < 0.03:
                    continue
                path, stated = written(folder, random, f"{number}_{place}_{band}", lie=lie)
                own = (scale * 2, offset) if random.random() < 0.02 else (scale, offset)
                asset = asset_of(path, band, scale=own[0], offset=own[1], unit=str(stored))
                assets.append(replace(asset, **stated))
            if masked and random.random() < 0.9:
                classes = random.choice(np.array([4, 5, 9, 3, 0], np.uint8), (12, 12), p=[0.5, 0.2, 0.2, 0.05, 0.05])
                assets.append(
                    asset_of(
                        write_raster(folder / f"{number}_{place}_scl.tif", classes, size=40.0), "scl", unit="class"
                    )
                )
            if assets:
                day = (START + timedelta(days=number)).date().isoformat()
                members.append(scene_of(*assets, name=f"s{number}{place}", day=day))
        scenes |= {scene.id: scene for scene in members}
        if members:
            passes.append(tuple(scene.id for scene in members))
            looks.append((len(passes) - 1, seeing_order(members, bands)))
    step = StepPlan(
        label="x",
        start=START,
        end=START + timedelta(days=29),
        passes=tuple(passes),
        days=tuple(scenes[ids[0]].solar_day for ids in passes),
        ranks=tuple(range(len(passes))),
    )
    geobox = grid(HEIGHT, WIDTH)
    choice = None
    if random.random() < 0.3:
        box, side = locate(geobox)[1], 16
        rows = range(box.row_start // side, -(-box.row_stop // side))
        cols = range(box.col_start // side, -(-box.col_stop // side))
        shares = random.random((len(rows) * len(cols), len(passes)))
        cells = [(row, col) for row in rows for col in cols]
        taken = {cell: [tuple(np.flatnonzero(of < 0.6).tolist())] for cell, of in zip(cells, shares, strict=True)}
        cost = LookCost(files=0, n_bytes=0, seconds=0.0)
        choice = make_choice(taken, side=side, shares=[[1.0] * len(passes)], n_found=1, cost=cost)
    entry = InputPlan(
        name="x",
        bands=bands,
        unit=str(wanted),
        resampling=resampling,
        reducer=str(random.choice(["median", "median", "min", "max"])),
        required=True,
        every_step=False,
        mask=MaskRule(dilation=float(random.choice([0.0, 20.0]))) if masked else MaskRule(kind="none"),
        finer=1,
        coarser=1,
        scenes=tuple(scenes.values()),
        steps=(step,),
        choice=choice,
    )
    return BlockInput(engine="direct", entry=entry, geobox=geobox), SeenPasses(index=0, step=step, looks=tuple(looks))


def by_floats(block_input, seen, access):
    """(values, counts) of the step, all at once, by physical values."""
    values, counts = made_room(block_input)
    inner = slice(0, values.shape[1])
    step_composite._composite_strip(block_input, seen, access, inner=inner, values=values, counts=counts)
    return values, counts


def made_room(block_input):
    shape = block_input.geobox.shape.yx
    return np.full((len(block_input.entry.bands), *shape), 7, np.float32), np.full(shape, 7, np.uint16)


@pytest.mark.parametrize("first", range(0, 90, 30))
def test_numbers_and_floats_give_the_same_bits(tmp_path, monkeypatch, first):
    n_taken = 0
    for seed in range(first, first + 30):
        folder = tmp_path / str(seed)
        folder.mkdir()
        block_input, seen = world(folder, seed)
        if len(seen.looks) < 2:
            continue
        conversions = common_conversions(seen.scenes, block_input.request.bands)
        n_taken += conversions is not None
        # Files that are refused, since they are not what their items state, are tolerated: they see nothing.
        logs = [FailureLog(tolerance=99) for _ in range(2)]
        expected, expected_counts = by_floats(block_input, seen, Access(failures=logs[0]))
        # Strips of a few rows, and on threads.
        monkeypatch.setattr(step_composite, "STACK_BYTES", [1e9, 3e4, 1e4][seed % 3])
        values, counts = made_room(block_input)
        composite_step(block_input, seen, Access(threads=1 + seed % 3, failures=logs[1]), values=values, counts=counts)
        entry = block_input.entry
        told = seed, entry.reducer, entry.unit, entry.working_unit, entry.resampling, conversions
        assert np.array_equal(values, expected, equal_nan=True), told
        assert np.array_equal(np.signbit(values[values == 0]), np.signbit(expected[values == 0])), told
        assert np.array_equal(counts, expected_counts), told
        assert logs[0].failures == logs[1].failures, told
    assert n_taken >= 8, "a third of the worlds or so is composited by numbers"


@pytest.mark.parametrize(("reducer", "stored"), [("median", "linear"), ("min", "db"), ("max", "db")])
def test_composites_of_power_are_given_in_decibels(tmp_path, reducer, stored):
    """Power in scaled integers: zero has no logarithm and is no observation."""
    scenes = [
        scene_of(
            asset_of(write_raster(tmp_path / f"{n}.tif", values, nodata=65535), scale=1e-3, unit=stored), name=str(n)
        )
        for n, values in enumerate(np.array([[[0, 10, 100]], [[0, 1000, 300]]], np.uint16))
    ]
    step = StepPlan(label="x", start=START, end=START, passes=(("0",), ("1",)), days=("2023-06-01",) * 2, ranks=(0, 1))
    entry = InputPlan(
        name="x", bands=("red",), unit="db", resampling="nearest", reducer=reducer, required=True, every_step=False,
        mask=MaskRule(kind="none"), finer=1, coarser=1, scenes=tuple(scenes), steps=(step,),
    )  # fmt: skip
    block_input = BlockInput(engine="direct", entry=entry, geobox=grid(1, 3))
    assert common_conversions(scenes, block_input.request.bands) is not None
    values, counts = np.empty((1, 1, 3), np.float32), np.empty((1, 3), np.uint16)
    seen = SeenPasses(index=0, step=step, looks=tuple((n, (scene,)) for n, scene in enumerate(scenes)))
    composite_step(block_input, seen, Access(), values=values, counts=counts)
    expected = {
        "median": [np.nan, 10 * np.log10(0.505), 10 * np.log10(0.2)], "min": [0, 0.01, 0.1], "max": [0, 1, 0.3]
    }[reducer]  # fmt: skip
    assert np.allclose(values[0, 0], expected, equal_nan=True)
    assert counts.tolist() == [[0 if reducer == "median" else 2, 2, 2]]


@pytest.mark.parametrize(
    ("dtype", "read"),
    [(np.uint16, "numbers numbers floats floats numbers numbers"), (np.int32, "numbers" + " floats" * 8)],
)
def test_a_saturated_pixel_sends_its_strip_to_floats_of_no_more_memory(tmp_path, monkeypatch, dtype, read):
    """The largest number is a value here: fewer rows of floats are held than there were of numbers.

    A file of another type than stated has no strip that could be kept, and is tried once.
    """
    values = np.full((64, 64), 500, dtype)
    values[20, 20] = 65535
    assets = [replace(asset_of(write_raster(tmp_path / f"{n}.tif", values)), dtype="uint16") for n in range(2)]
    scenes = [scene_of(asset, name=str(n)) for n, asset in enumerate(assets)]
    step = StepPlan(label="x", start=START, end=START, passes=(("0",), ("1",)), days=("2023-06-01",) * 2, ranks=(0, 1))
    entry = InputPlan(
        name="x", bands=("red",), unit="reflectance", resampling="nearest", reducer="median", required=True,
        every_step=False, mask=MaskRule(kind="none"), finer=1, coarser=1, scenes=tuple(scenes), steps=(step,),
    )  # fmt: skip
    held, whole = [], step_composite._read_stack
    monkeypatch.setattr(step_composite, "STACK_BYTES", 16 * 64 * 2 * 2)
    monkeypatch.setattr(step_composite, "_read_stack", lambda *a, out: (held.append(out), whole(*a, out=out))[1])
    made, counts = np.empty((1, 64, 64), np.float32), np.empty((64, 64), np.uint16)
    seen = SeenPasses(index=0, step=step, looks=tuple((n, (scene,)) for n, scene in enumerate(scenes)))
    composite_step(
        BlockInput(engine="direct", entry=entry, geobox=grid(64, 64)), seen, Access(), values=made, counts=counts
    )
    assert np.array_equal(made[0], values)
    assert {(out.dtype.name, out.nbytes) for out in held} == {("uint16", 4096), ("float32", 4096)}
    assert ["numbers" if out.dtype == np.uint16 else "floats" for out in held] == read.split()
