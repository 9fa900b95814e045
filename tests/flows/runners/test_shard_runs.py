"""Shards, watched products and backfills: the same product, nothing done twice, failures named by reason."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.danube import WATER, water_fields
from tests.support.products import same_layers, writing_worker
from tilewright.flows.errors import ErrorClass, classify
from tilewright.flows.job.job import JobError, make_job
from tilewright.flows.job.template import Slot, TemplateError, fill, periods_at
from tilewright.flows.maintain.backfill import BackfillError, RowsFailedError, backfill_jobs, read_table, run_backfill
from tilewright.flows.maintain.watch import WatchError, watch_once
from tilewright.flows.run.output_lock import lock_output
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.quarantine import Quarantine, RetryError, SetAsideError, blocks_set_aside
from tilewright.flows.runners.run_options import Placement, RunOptions
from tilewright.flows.runners.shard_worker import do_shard
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.plan.shards import cut_shards
from tilewright.tasks.read.failures import ReadError
from tilewright.tasks.storage.ledger import read_plan
from tilewright.tasks.storage.storage import open_storage

TILE = {"block": 128, "step": 128}


def plain_job(real, output, **changes):
    return water_fields(real, output=str(output), tile=TILE, **changes)


@pytest.fixture(scope="module")
def plain(real, tmp_path_factory):
    return run_job(make_job(plain_job(real, tmp_path_factory.mktemp("plain") / "out"), base=Path())).output


def plan_of(output):
    return Plan.from_json(read_plan(open_storage(output)))


def test_shards_cut_every_block_once_and_evenly(plain):
    plan = plan_of(plain)
    shards = cut_shards(plan, 4)
    assert [place for shard in shards for place in shard.places] == list(plan.raster.blocks)
    lengths = [len(shard.places) for shard in shards]
    assert max(lengths) - min(lengths) <= 1
    assert len(cut_shards(plan, 10_000)) == len(plan.raster.blocks)


def test_a_region_of_shards_is_the_product_of_one_run(real, plain, tmp_path):
    job = make_job(plain_job(real, tmp_path / "out"), base=Path())
    outcome = run_job(job, RunOptions(shards=4, workers=2))
    assert same_layers(outcome.output, plain)
    assert outcome.report["blocks"] == len(plan_of(plain).raster.blocks)


def test_a_shard_does_its_own_missing_blocks_and_no_others(plain, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(plain, output)
    plan = plan_of(str(output))
    ledger = output / ".tilewright" / "ledger"
    mine, theirs = cut_shards(plan, 3)[1].places, cut_shards(plan, 3)[0].places
    for row, col in (mine[0], theirs[0]):
        (ledger / f"{row}_{col}.json").unlink()
    writing_worker(output)
    with lock_output(open_storage(str(output))) as lock:
        done = do_shard(str(output), 2, 3, placement=Placement(workers=1), fence=lock.fence)
    assert done == {"shard": 2, "blocks": len(mine), "done_now": 1}
    assert (ledger / f"{mine[0][0]}_{mine[0][1]}.json").exists()
    assert not (ledger / f"{theirs[0][0]}_{theirs[0][1]}.json").exists()
    with lock_output(open_storage(str(output))) as lock, pytest.raises(ValueError, match="has the shards 1 to 3"):
        do_shard(str(output), 4, 3, placement=Placement(), fence=lock.fence)


NOW = datetime(2021, 6, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def scenes(sample):
    """Ids of the sample's Sentinel-2 scenes with their files, by time."""
    found = []
    for path in sample.rglob("*.json"):
        plain = json.loads(path.read_text())
        if plain.get("type") == "Feature" and plain.get("collection") == "sentinel-2-l2a":
            found.append((plain["properties"]["datetime"], plain, path))
    return sorted(found, key=lambda entry: entry[0])


def write_catalog(folder, entries):
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    for _, plain, path in entries:
        assets = {}
        for key, asset in plain["assets"].items():
            href = asset["href"]
            assets[key] = {**asset, "href": href if "://" in href else str((path.parent / href).resolve())}
        (folder / f"{plain['id']}.json").write_text(json.dumps({**plain, "assets": assets, "links": []}))
        links.append({"rel": "item", "href": f"./{plain['id']}.json"})
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "few", "description": "few", "links": links}
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return folder / "catalog.json"


def inside(bbox, area):
    """The middle of what a scene and the area have in common."""
    west, south = max(bbox[0], area[0]), max(bbox[1], area[1])
    east, north = min(bbox[2], area[2]), min(bbox[3], area[3])
    x, y, width, height = (west + east) / 2, (south + north) / 2, (east - west) * 0.9, (north - south) / 4
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def shrunk(entry, area):
    """The scene with its footprint cut to a western strip of the area."""
    moment, plain, path = entry
    west, south, _, north = plain["bbox"]
    east = area[0] + (area[2] - area[0]) / 8
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    cut = {**plain, "bbox": [west, south, east, north], "geometry": {"type": "Polygon", "coordinates": [ring]}}
    return moment, cut, path


def test_a_watched_product_redoes_just_the_blocks_new_scenes_touch(scenes, tmp_path):
    from tilewright.catalogs.sample.build import SAMPLE_AREA

    area = inside(scenes[0][1]["bbox"], SAMPLE_AREA)
    second_scene = next(entry for entry in scenes[1:] if entry[1]["id"][4:10] == scenes[0][1]["id"][4:10])
    first, second = scenes[:1], [scenes[0], shrunk(second_scene, area)]
    source = write_catalog(tmp_path / "catalog", first)
    year = scenes[0][0][:4]
    template = {
        "name": "kept", "area": area, "period": f"{year}-01-01/{year}-12-31", "model": "ndwi-water",
        "source": str(source), "output": str(tmp_path / "out"), "tile": {"block": 128, "step": 128},
    }  # fmt: skip
    arguments = {"base": Path(), "now": datetime(int(year), 12, 31, tzinfo=UTC)}
    assert [result.state for result in watch_once(template, **arguments)] == ["made"]
    ledger = tmp_path / "out" / ".tilewright" / "ledger"
    before = {path.name: path.stat().st_mtime_ns for path in ledger.iterdir()}
    created = json.loads((tmp_path / "out" / "item.json").read_text())["properties"]
    unchanged = watch_once(template, **arguments)
    assert [result.state for result in unchanged] == ["unchanged"]
    write_catalog(tmp_path / "catalog", second)
    results = watch_once(template, **arguments)
    assert [(result.state, len(result.scenes)) for result in results] == [("updated", 1)]
    after = {path.name: path.stat().st_mtime_ns for path in ledger.iterdir()}
    redone = {name for name in before if after[name] != before[name]}
    assert set(after) == set(before)
    assert 0 < len(redone) < len(before), "only the touched blocks"
    assert json.loads((tmp_path / "out" / "item.json").read_text())["properties"] != created
    whole = run_job(make_job({**template, "output": str(tmp_path / "fresh")}, base=Path()))
    assert same_layers(whole.output, tmp_path / "out"), "an update is what a fresh run would be"
    assert [result.state for result in watch_once(template, **arguments)] == ["unchanged"]
    # As after an update by hand that was cut off: no scene is new, and yet there is something to do.
    (tmp_path / "out" / "item.json").unlink()
    assert [(result.state, result.scenes) for result in watch_once(template, **arguments)] == [("updated", ())]
    assert (tmp_path / "out" / "item.json").is_file()


def test_a_product_per_period_needs_a_place_per_period(tmp_path):
    with pytest.raises(WatchError, match=r"\{period\}"):
        watch_once({**WATER, "output": "x"}, base=tmp_path, now=NOW, every="month")


def test_periods_reach_back_by_the_overlap():
    assert periods_at(datetime(2026, 3, 3, tzinfo=UTC), every="month", overlap=timedelta(days=10)) == [
        Slot(label="2026-02", period="2026-02-01/2026-02-28"),
        Slot(label="2026-03", period="2026-03-01/2026-03-31"),
    ]
    assert [slot.label for slot in periods_at(NOW, every="day", overlap=timedelta(days=2))] == [
        "2021-06-18", "2021-06-19", "2021-06-20",
    ]  # fmt: skip
    assert periods_at(NOW, every="none", overlap=timedelta(days=2)) == []
    assert periods_at(NOW, every="year", overlap=timedelta(0)) == [Slot(label="2021", period="2021-01-01/2021-12-31")]


def test_a_template_says_what_it_misses():
    assert fill({"a": ["x-{name}"], "b": 3}, {"name": "n"}) == {"a": ["x-n"], "b": 3}
    with pytest.raises(TemplateError, match="known here: name"):
        fill({"a": "{nom}"}, {"name": "n"})


def test_a_backfill_is_resumed_and_drives_failures_again_by_reason(tmp_path):
    (tmp_path / "table.csv").write_text("name,area,period\na,1 2 3 4,2021-06\nb,1 2 3 4,2021-07\n")
    template = {"output": str(tmp_path / "{name}"), "source": "s", "model": "m"}
    jobs = backfill_jobs(template, read_table(tmp_path / "table.csv"))
    assert jobs[0] == {
        **template,
        "output": str(tmp_path / "a"),
        "name": "a",
        "area": [1, 2, 3, 4],
        "period": "2021-06",
    }
    runs = []

    def run_row(job):
        runs.append(job["name"])
        if job["name"] == "b" and len(runs) < 3:
            raise RuntimeError("HTTP 503: slow down")

    with pytest.raises(RowsFailedError, match=r"1 of 2 products failed; the first: b \(throttled\)"):
        run_backfill(jobs, run_row, home=str(tmp_path / "home"))
    assert run_backfill(jobs[:1], run_row, home=str(tmp_path / "home"), only="throttled")[0].state == "done"
    assert runs == ["a", "b"]
    assert [row.state for row in run_backfill(jobs, run_row, home=str(tmp_path / "home"), only="throttled")] == [
        "done"
    ] * 2
    assert runs == ["a", "b", "b"]
    run_backfill(jobs, run_row, home=str(tmp_path / "home"))
    assert len(runs) == 3


def test_rows_that_would_overwrite_each_other_are_refused():
    with pytest.raises(BackfillError, match="Several rows have the output out"):
        backfill_jobs({"output": "out"}, [{"name": "a"}, {"name": "b"}])
    with pytest.raises(BackfillError, match="Row 1 of the table has no name"):
        backfill_jobs({}, [{"area": [1, 2, 3, 4]}])


class KilledWorker(Exception):  # noqa: N818 -- Dask's own name
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (JobError("period: x"), ErrorClass.BAD_REQUEST),
        (MemoryError(), ErrorClass.OUT_OF_MEMORY),
        (RuntimeError("std::bad_alloc"), ErrorClass.OUT_OF_MEMORY),
        (KilledWorker("block"), ErrorClass.LOST_WORKER),
        (ReadError(item="i", band="b", href="h", reason="x (the server answers 429)"), ErrorClass.THROTTLED),
        (ReadError(item="i", band="b", href="h", reason="x (the server answers 404)"), ErrorClass.GONE),
        (ReadError(item="i", band="b", href="h", reason="CURL error: reset"), ErrorClass.TRANSIENT),
        (ConnectionResetError(), ErrorClass.TRANSIENT),
        (TypeError("NoneType"), ErrorClass.FAULT),
    ],
)
def test_errors_have_their_class(error, kind):
    assert classify(error) is kind


def test_a_cause_deep_down_decides():
    outer = RuntimeError("block failed")
    outer.__cause__ = MemoryError()
    assert classify(outer) is ErrorClass.OUT_OF_MEMORY


def test_what_every_block_would_meet_stops_the_run_at_once(plain):
    block = plan_of(plain).raster.all_blocks()[0]
    with pytest.raises(JobError):
        Quarantine().record_failure(block, JobError("x"))
    quarantine = Quarantine()
    gone = ReadError(item="i", band="b", href="h", reason="no such file")
    assert not quarantine.record_failure(block, gone)
    with pytest.raises(SetAsideError, match="1 block failed for good; the first: block"):
        quarantine.close()


def test_blocks_are_driven_again_by_reason():
    rows = [{"block": "1_1", "class": "gone"}, {"block": "1_2", "class": "throttled"}, {"block": "1_3"}]
    assert blocks_set_aside(rows, "gone") == {"1_1"}
    assert blocks_set_aside(rows, "all") == {"1_1", "1_2"}
    with pytest.raises(RetryError, match="set aside are: gone, throttled"):
        blocks_set_aside(rows, "transient")
    with pytest.raises(RetryError, match="expected all or one of"):
        blocks_set_aside(rows, "bad luck")
