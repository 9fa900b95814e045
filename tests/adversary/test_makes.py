"""Processes of another make: workers, shards and resumed runs whose libraries, plan or provider are not the run's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.chaos.checks import Reference, differences
from tests.support.chaos.places import FolderPlace
from tests.support.products import SIDE, read, write_job, writing_worker
from tilewright.flows.errors import RunnerError
from tilewright.flows.run.output_lock import lock_output
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.cluster_worker import RemoteRun, expected_facts, remote_block, worker_facts
from tilewright.flows.runners.cluster_worker import differences as fact_differences
from tilewright.flows.runners.run_options import Placement, RunOptions
from tilewright.flows.runners.shard_worker import do_shard
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")

CPU = WorkerSettings(provider="cpu", read_threads=1)


@pytest.fixture(scope="module")
def published(whole, tmp_path_factory):
    output = tmp_path_factory.mktemp("published") / "out"
    shutil.copytree(whole, output)
    return output


FACTS = ("architecture", "gdal", "model", "numcodecs", "numpy", "odc-geo", "onnxruntime", "plan", "proj", "provider",
         "python", "rasterio", "shapely", "tilewright", "zarr")  # fmt: skip


@pytest.mark.parametrize("name", FACTS)
def test_a_worker_that_differs_in_any_of_these_is_named_with_it(published, name):
    worker = writing_worker(published, CPU)
    expected = expected_facts(worker)
    remote = RemoteRun(output=str(published), settings=CPU, expected=expected, fence=None)
    facts = worker_facts(remote)
    assert fact_differences(facts, expected) == ""
    words = fact_differences({**facts, name: "0.0.1"}, expected)
    assert words == f"{name} 0.0.1 (here {facts[name]})"


PATCHES = {
    "gdal": "import rasterio; rasterio.__gdal_version__ = '3.0.0'",
    "numpy": "import importlib.metadata as m; m.version = lambda n, v=m.version: '1.0.0' if n == 'numpy' else v(n)",
    "python": "import platform; platform.python_version = lambda: '3.9.1'",
}


@pytest.mark.parametrize("name", PATCHES)
def test_real_workers_of_another_make_are_refused_also_when_they_join_later(published, job, tmp_path, name):
    distributed = pytest.importorskip("distributed", reason="the extra `flows` is not installed")
    preload = tmp_path / "other_make.py"
    preload.write_text(PATCHES[name])
    worker = writing_worker(published, CPU)
    remote = RemoteRun(output=str(published), settings=CPU, expected=expected_facts(worker), fence=None)
    block = worker.plan.raster.all_blocks()[0]
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, preload=[str(preload)]
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        with pytest.raises(RunnerError, match=rf"1 of 1 worker differs .*{name} .* \(here "):
            run_job(read(job, tmp_path / "out"), RunOptions(runner=cluster.scheduler_address))
        with pytest.raises(RunnerError, match=rf"A worker on .* differs from the run: {name} "):
            client.submit(remote_block, block.row, block.col, 1, remote, pure=False).result()


def test_a_worker_that_stands_for_long_follows_the_plan_of_each_run(job, tmp_path):
    """A worker process kept the plan of its first run: an update was made of the pixels of the plan before it."""
    distributed = pytest.importorskip("distributed", reason="the extra `flows` is not installed")
    plain = json.loads(job.read_text())
    more = json.loads(write_job(tmp_path / "more", side=SIDE // 2).read_text())["source"]["files"]
    added = [{**entry, "datetime": "2023-06-20T10:00:00Z", "scene": "second"} for entry in more]
    second = tmp_path / "second.json"
    second.write_text(json.dumps({**plain, "source": {"files": [*plain["source"]["files"], *added]}}))
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        options = {"runner": cluster.scheduler_address}
        run_job(read(job, tmp_path / "out"), RunOptions(**options))
        run_job(read(second, tmp_path / "out"), RunOptions(**options, update=True))
    alone = run_job(read(second, tmp_path / "alone")).output
    ours, theirs = (Reference.of(FolderPlace(uri=str(place)).objects()) for place in (tmp_path / "out", alone))
    assert {**ours.keys} == {**theirs.keys}
    assert differences(FolderPlace(uri=str(tmp_path / "out")).objects(), theirs) == []


def begun_elsewhere(published, tmp_path, **then) -> Path:
    """A copy of the product that is not finished and whose plan names other versions."""
    output = tmp_path / "out"
    shutil.copytree(published, output)
    (output / "item.json").unlink()
    path = output / ".tilewright" / "plan.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "versions": {**plan["versions"], **then}}))
    return output


def test_a_product_begun_with_other_libraries_goes_on_by_update_alone(published, job, tmp_path):
    output = begun_elsewhere(published, tmp_path, onnxruntime="1.0.0", gdal="3.0.0")
    with pytest.raises(StoreError, match=r"gdal 3\.0\.0 then, .*onnxruntime 1\.0\.0 then, .*--update"):
        run_job(read(job, output))
    said = []
    run_job(read(job, output), RunOptions(update=True), listener=lambda event: said.append(str(event)))
    assert any("Blocks that are kept were made with other libraries: gdal 3.0.0 then" in words for words in said)
    assert (output / "item.json").exists()


def test_a_shard_on_a_machine_of_another_make_is_refused(published, tmp_path):
    output = begun_elsewhere(published, tmp_path, rasterio="1.0.0")
    with (
        lock_output(open_storage(str(output))) as lock,
        pytest.raises(RunnerError, match=r"The shard's machine .* differs .*: rasterio 1\.0\.0 then"),
    ):
        do_shard(str(output), 1, 1, placement=Placement(workers=1), settings=CPU, fence=lock.fence)
