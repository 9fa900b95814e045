"""Products whose arrays are cut out of blocks: runs that break off while they cut, updates, and older products."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

import tilewright as tw
from tests.support.graphs import echo
from tests.support.products import assert_same_product, command, tilewright, write_job
from tests.support.worlds import World, pixel_job, run, write_card
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.storage.errors import StoreError

pytestmark = pytest.mark.usefixtures("small_pictures")
RED = np.random.default_rng(8).uniform(0, 1, (700, 700)).astype(np.float32)


def card(folder):
    """The card of a model that answers with its input."""
    output = {"name": "y", "tw:layers": ["value"]}
    return write_card(folder, echo(), inputs=[{"name": "x", "bands": ["red"]}], outputs=[output])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    made.add(RED, "red", unit="reflectance")
    return made


KILLED_WHILE_IT_CUTS = """
import os
from tilewright.tasks.zarr import cut
real, done = cut.write_shard, []
def write_shard(*given, **named):
    real(*given, **named)
    done.append(1)
    if len(done) == 7:
        os._exit(9)
cut.write_shard = write_shard
"""


@pytest.mark.parametrize("damage", ["none", "of a shard that was cut", "of a block that waits"])
def test_a_run_that_was_killed_while_it_cut_gives_the_same_bytes(tmp_path, damage):
    job = write_job(tmp_path / "job", tile={"block": 64, "step": 32})
    output, whole = tmp_path / "out", tmp_path / "whole"
    killed = command("run", job, "--output", output, before=KILLED_WHILE_IT_CUTS)
    killed.communicate(timeout=120)
    assert killed.returncode == 9
    assert not (output / "item.json").exists()
    waiting = output / ".tilewright" / "blocks.zarr"
    folder = {"none": None, "of a shard that was cut": output / "data.zarr", "of a block that waits": waiting}[damage]
    if folder is not None:
        shard = next(path for path in sorted((folder / "class" / "c").rglob("*")) if path.is_file())
        shard.write_bytes(shard.read_bytes()[:20])
    assert tilewright("run", job, "--output", output).returncode == 0
    assert not waiting.exists()
    assert tilewright("run", job, "--output", whole).returncode == 0
    assert_same_product(output, whole)


def objects(output):
    folder = output / "data.zarr"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("zarr_format", [3, 2])
@pytest.mark.parametrize(("at", "side"), [((100, 90), 40), ((0, 0), 30), ((250, 240), 60)])
def test_an_update_of_some_blocks_gives_what_a_new_run_gives(tmp_path, at, side, zarr_format):
    """Blocks are redone whose shards hold pixels of others, which wait nowhere any more."""
    made, model = World(tmp_path / "world"), card(tmp_path / "card")
    made.add(RED, "red", unit="reflectance")
    tile = {"block": 64, "step": 32}

    def asked(name):
        job = pixel_job(made, model, tmp_path / name, rows=(11, 291), cols=(7, 277), tile=tile)
        return job.model_copy(update={"zarr_format": zarr_format})

    output = Path(run(asked("out")).output)
    made.add(np.full((side, side), 0.25, np.float32), "red", day="2023-06-20", at=at, unit="reflectance")
    updated = run_job(asked("out"), RunOptions(update=True, workers=2))
    anew = Path(run(asked("anew")).output)
    assert objects(output).keys() == objects(anew).keys()
    assert [name for name, content in objects(anew).items() if objects(output)[name] != content] == []
    with rasterio.open(output / "value.tif") as ours, rasterio.open(anew / "value.tif") as theirs:
        assert np.array_equal(ours.read(1), theirs.read(1), equal_nan=True)
        assert not np.array_equal(ours.read(1), RED[11:291, 7:277], equal_nan=True)
    assert not updated.already_complete
    assert not (output / ".tilewright/blocks.zarr").exists()


def test_a_product_of_whole_blocks_is_refused_with_the_way_out(world, tmp_path):
    """As an older Tilewright left it: arrays larger than the product."""
    asked = pixel_job(world, card(tmp_path / "card"), tmp_path / "out", rows=(10, 100), cols=(10, 100))
    output = Path(run(asked).output)
    with xr.open_zarr(output / "data.zarr") as opened:
        older = opened.pad(y=(3, 3), x=(3, 3), mode="edge").load()
    for variable in older.variables.values():
        variable.encoding.clear()
    shutil.rmtree(output / "data.zarr")
    older.drop_vars("time_bounds").to_zarr(output / "data.zarr")
    with pytest.raises(StoreError, match=r"an older Tilewright made it. Run the job again with --replace"):
        tw.open(output)["value"]
    (output / "item.json").unlink()
    with pytest.raises(StoreError, match=r"begun with an older Tilewright.*Use --replace"):
        run_job(asked, RunOptions(workers=1))
    plan = output / ".tilewright" / "plan.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "format": 0}))
    for options in (RunOptions(), RunOptions(update=True)):
        with pytest.raises(StoreError, match=r"--replace"):
            run_job(asked, options)
    assert np.array_equal(tw.open(run_job(asked, RunOptions(replace=True)).output)["value"], RED[10:100, 10:100])
