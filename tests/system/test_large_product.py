"""Products whose layers take several files: the same pixels as one file, whatever happens in between."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from tests.support.products import LAYERS, command, entries, layer, read, tilewright, wait_until, write_job
from tests.support.worlds import World
from tilewright.catalogs.publish.geoparquet import read_items
from tilewright.catalogs.publish.validate import validate_collection, validate_item
from tilewright.flows.job.job import JobError
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 1100
MAX_SIDE = 512
CUT = {"max_side": MAX_SIDE}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return write_job(tmp_path_factory.mktemp("job"), side=SIDE, tile={"block": 256, "step": 256})


@pytest.fixture(scope="module")
def whole(job, tmp_path_factory):
    return Path(run_job(read(job, tmp_path_factory.mktemp("whole") / "out")).output)


@pytest.fixture(scope="module")
def cut(job, tmp_path_factory):
    output = tmp_path_factory.mktemp("cut") / "out"
    answer = tilewright("run", job, "--output", output, "--set", f"cog.max_side={MAX_SIDE}")
    assert answer.returncode == 0, answer.stderr
    return output


def parts(output, name="class"):
    """A layer's parts by file name, and when they were written, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in sorted(output.glob(f"{name}_r*c*.tif"))}


def shown(output, name):
    with rasterio.open(output / f"{name}.vrt") as dataset:
        return dataset.read(1)


def assert_same_pixels(cut, whole):
    for name in LAYERS:
        assert np.array_equal(shown(cut, name), layer(whole, name))
        assert not (cut / f"{name}.tif").exists()


def test_the_parts_together_are_the_one_file(cut, whole):
    assert_same_pixels(cut, whole)
    assert len(parts(cut)) == len(parts(cut, "confidence")) >= 9
    for name in parts(cut):
        assert cog_validate(cut / name, strict=True, quiet=True) == (True, [], [])
        assert (cut / f"{name}.aux.xml").exists()
    with rasterio.open(cut / "class.vrt") as ours, rasterio.open(whole / "class.tif") as theirs:
        assert (ours.transform, ours.crs, ours.nodata) == (theirs.transform, theirs.crs, theirs.nodata)
        assert ours.colormap(1)[1] == theirs.colormap(1)[1]
    for path in (path for path in (whole / "data.zarr").rglob("*") if path.is_file()):
        assert (cut / path.relative_to(whole)).read_bytes() == path.read_bytes(), "only the files differ"


def test_every_part_has_an_item_and_the_collection_and_the_table_list_them(cut, whole):
    plain = json.loads((cut / "item.json").read_text())
    one = json.loads((whole / "item.json").read_text())
    validate_item(plain)
    assert plain["assets"]["class"]["href"] == "./class.vrt"
    assert plain["assets"]["class"]["file:size"] == (cut / "class.vrt").stat().st_size
    assert plain["assets"]["class"]["classification:classes"] == one["assets"]["class"]["classification:classes"]
    for name, value in one["assets"]["confidence"]["bands"][0]["statistics"].items():
        assert plain["assets"]["confidence"]["bands"][0]["statistics"][name] == pytest.approx(value, rel=1e-9)
    names = sorted(path.name for path in cut.glob("item_*.json"))
    assert len(names) == len(parts(cut))
    assert sorted(link["href"] for link in plain["links"] if link["rel"] == "related") == [f"./{n}" for n in names]
    for name in names:
        part = json.loads((cut / name).read_text())
        validate_item(part)
        file = part["assets"]["class"]["href"]
        assert (cut / file).stat().st_size == part["assets"]["class"]["file:size"]
        with rasterio.open(cut / file) as dataset:
            assert part["properties"]["proj:shape"] == list(dataset.shape)
            assert part["properties"]["proj:transform"] == list(dataset.transform)[:6]
    collection = json.loads((cut / "collection.json").read_text())
    validate_collection(collection)
    listed = {link["href"] for link in collection["links"] if link["rel"] == "item"}
    assert listed == {f"./{name}" for name in ("item.json", *names)}
    ids = {item.id for item in pystac.Collection.from_file(str(cut / "collection.json")).get_items()}
    assert ids == {item["id"] for item in read_items(cut / "items.parquet")}
    assert len(ids) == len(names) + 1


def test_report_and_status_speak_of_the_whole_and_a_third_call_writes_nothing(job, cut, whole):
    ours, theirs = (json.loads((place / "report.json").read_text()) for place in (cut, whole))
    assert [row["classes"] for row in ours["layers"][:1]] == [row["classes"] for row in theirs["layers"][:1]]
    assert ours["layers"][0]["href"] == "class.vrt"
    assert ours["layers"][0]["parts"] == sorted(parts(cut))
    assert ours["layers"][0]["size"] >= sum((cut / name).stat().st_size for name in parts(cut))
    assert product_status(str(cut))["state"] == "complete"
    assert clean_output(str(cut)) == []
    before = {path: path.stat().st_mtime_ns for path in cut.rglob("*")}
    answer = tilewright("run", job, "--output", cut, "--set", f"cog.max_side={MAX_SIDE}")
    assert "complete already" in answer.stdout
    assert {path: path.stat().st_mtime_ns for path in cut.rglob("*")} == before


def test_killed_between_parts_it_goes_on_with_the_rest_of_them(job, whole, tmp_path):
    output = tmp_path / "out"
    records = output / ".tilewright" / "cogs"
    process = command("run", job, "--output", output, "--set", f"cog.max_side={MAX_SIDE}")
    wait_until(lambda: process.poll() is not None or (records.is_dir() and len(list(records.glob("*.json"))) >= 3))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    finished = [path.name.removesuffix(".json") for path in records.glob("*.tif.json")]
    assert 3 <= len(finished) < 18, "killed too late to show anything"
    assert list(output.glob("item*.json")) == []
    kept = {name: (output / name).stat().st_mtime_ns for name in finished}
    blocks = entries(output)
    run_job(read(job, output, cog=CUT))
    assert {name: (output / name).stat().st_mtime_ns for name in finished} == kept
    assert entries(output) == blocks
    assert_same_pixels(output, whole)
    left = clean_output(str(output))
    assert [key for key in left if not key.startswith(".tilewright/") and "#" not in key] == []
    assert_same_pixels(output, whole)


def test_a_part_that_was_touched_is_made_again_and_no_other(job, cut, whole, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(cut, output)
    (output / "item.json").unlink()
    touched = output / "class_r01c01.tif"
    content = bytearray(touched.read_bytes())
    content[len(content) // 2] ^= 1
    touched.write_bytes(content)
    before = {**parts(output), **parts(output, "confidence")}
    run_job(read(job, output, cog=CUT))
    after = {**parts(output), **parts(output, "confidence")}
    assert {name for name in after if after[name] != before[name]} == {touched.name}
    assert_same_pixels(output, whole)


def test_an_update_cuts_a_product_and_joins_it_again_without_doing_a_block(job, whole, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    blocks = entries(output)
    run_job(read(job, output, cog=CUT), RunOptions(update=True))
    assert_same_pixels(output, whole)
    assert not (output / "class.tif.aux.xml").exists()
    run_job(read(job, output), RunOptions(update=True))
    assert entries(output) == blocks
    assert np.array_equal(layer(output, "class"), layer(whole, "class"))
    assert [path.name for path in output.iterdir() if "_r0" in path.name or path.suffix == ".vrt"] == []
    collection = json.loads((output / "collection.json").read_text())
    assert [link["href"] for link in collection["links"] if link["rel"] == "item"] == ["./item.json"]
    assert [item["id"] for item in read_items(output / "items.parquet")] == ["small"]


def test_an_update_makes_the_parts_of_changed_blocks_again_and_no_others(job, cut, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(cut, output)
    plain = json.loads(job.read_text())
    world = World(tmp_path / "more")
    world.files.extend(plain["source"]["files"])
    for band in ("green", "nir"):
        values = np.full((48, 48), 0.5, dtype=np.float32)
        world.add(values, band, scene="second", day="2023-06-20", at=(10, 10), unit="reflectance")
    with_more = tmp_path / "job.json"
    with_more.write_text(json.dumps({**plain, "source": world.source}))
    before = {**parts(output), **parts(output, "confidence")}
    run_job(read(with_more, output, cog=CUT), RunOptions(update=True))
    after = {**parts(output), **parts(output, "confidence")}
    redone = {name for name in after if after[name] != before[name]}
    assert {name for name in redone if "r00c00" in name}
    assert len(redone) <= 4 < len(after)
    anew = Path(run_job(read(with_more, tmp_path / "anew")).output)
    assert_same_pixels(output, anew)


def test_it_is_rebuilt_from_its_item_and_proved_part_by_part(cut, tmp_path):
    answer = rerun_item(str(cut / "item.json"), output=str(tmp_path / "again"))
    assert answer["identical"], answer["sentence"]
    assert parts(tmp_path / "again").keys() == parts(cut).keys()
    plain = json.loads((cut / "item_r00c00.json").read_text())
    assert plain["assets"]["class"]["file:checksum"].startswith("1220")


@pytest.mark.parametrize("side", [100, 600, 0])
def test_a_side_that_is_no_multiple_of_a_tile_is_refused(job, side):
    with pytest.raises(JobError, match=r"cog\.max_side"):
        read(job, "out", cog={"max_side": side})
