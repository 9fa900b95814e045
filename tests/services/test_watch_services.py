"""A watched product on a schedule: a Prefect server on PostgreSQL, its worker, and a STAC API that gets new scenes."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.deployments import artifacts_of, client_of, deploy, process_worker, runs_of, wait_for
from tests.support.fault_proxy import proxy_before
from tests.support.products import entries, same_layers
from tilewright.flows.job.job import make_job
from tilewright.flows.run.predict import run_job

pytestmark = [
    pytest.mark.services,
    pytest.mark.slow(reason="a schedule that has to come round four times: two minutes"),
    pytest.mark.usefixtures("small_pictures"),
]

pytest.importorskip("prefect", reason="the extra `flows` is not installed")

NEW = ("S2A_33UWP_20220617_0_L2A", "S2B_33UWP_20220722_0_L2A")
"""Two scenes of the eastern granule, the only ones of it in the period."""

EAST_EDGE = 499_980.0
"""Where that granule's files begin, metres in EPSG:32633."""

AREA = [14.975, 48.695, 15.025, 48.71]
EVERY_SECONDS = 20


@pytest.fixture
def collection(services):
    """A collection of this test alone with the western granule's scenes of summer 2022, and the scenes to be added."""
    api = services["STAC_API"].rstrip("/")
    name = f"sentinel-2-l2a-watch-{os.getpid()}-{time.time_ns() // 10**9}"
    known = httpx.get(f"{api}/collections/sentinel-2-l2a-http", timeout=30).json()
    answer = httpx.post(f"{api}/collections", json={**known, "id": name, "links": []}, timeout=30)
    assert answer.status_code == 201, answer.text
    items = httpx.post(f"{api}/search", json={"collections": ["sentinel-2-l2a-http"], "limit": 100}, timeout=30).json()[
        "features"
    ]
    late = []
    for item in items:
        plain = {**item, "collection": name, "links": []}
        if item["id"] in NEW:
            late.append(plain)
        elif "_33UVP_2022" in item["id"]:
            add(api, plain)
    assert len(late) == 2
    yield api, name, late
    httpx.delete(f"{api}/collections/{name}", timeout=30)


def add(api, item):
    answer = httpx.post(f"{api}/collections/{item['collection']}/items", json=item, timeout=30)
    assert answer.status_code == 201, answer.text


def eastern(output):
    """Names of the blocks whose outer box reaches over the eastern files' edge."""
    from tilewright.tasks.plan.plan import Plan

    plan = Plan.from_json(json.loads((output / ".tilewright" / "plan.json").read_text()))
    boxes = {block.name: plan.raster.grid.geobox_of(block.outer).boundingbox for block in plan.raster.all_blocks()}
    return {name for name, box in boxes.items() if box.right > EAST_EDGE}


def test_watch_on_a_schedule_redoes_the_blocks_of_two_new_scenes_and_then_nothing(services, collection, tmp_path):
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import IntervalSchedule

    from tilewright.flows.prefect_flows.flows import watch

    api, name, late = collection
    output, prefect = tmp_path / "kept", services["PREFECT_API"]
    with proxy_before(api) as proxy, client_of(prefect) as client:
        job = {
            "name": name, "area": AREA, "period": "2022-06-01/2022-08-31", "model": "ndwi-water",
            "source": {"href": proxy.url, "collections": {"sentinel-2-l2a": name}},
            "output": str(output), "tile": {"block": 64, "step": 64},
        }  # fmt: skip
        with process_worker(client, tmp_path / "worker") as pool:
            log = tmp_path / "worker" / "worker.log"
            deployment = deploy(
                client, watch, pool=pool, folder=tmp_path / "worker", parameters={"job": job, "overlap_days": 100},
                schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=EVERY_SECONDS)))],
                concurrency_limit=1, concurrency_options={"collision_strategy": "CANCEL_NEW"},
            )  # fmt: skip

            def ticks(state):
                """(row, its flow run) of every look that ended so, the latest last."""
                runs = {str(run.id): run for run in runs_of(client, deployment)}
                rows = [
                    (row, runs[entry["flow_run_id"]])
                    for entry in artifacts_of(prefect, "watch")
                    if entry["flow_run_id"] in runs
                    for row in json.loads(entry["data"])
                ]
                return [found for found in rows if found[0]["state"] == state and found[1].state.is_final()]

            try:
                wait_for(lambda: ticks("made"), seconds=180, what="the first product", log=log)
                item, before = json.loads((output / "item.json").read_text()), entries(output)
                for scene in late:
                    add(api, scene)
                (row, _), *_ = wait_for(lambda: ticks("updated"), seconds=120, what="the update", log=log)
                assert all(f"/{scene}" in row["scenes"] for scene in NEW)
                after, newer = entries(output), json.loads((output / "item.json").read_text())
                redone = {block for block in after if after[block] != before.get(block)}
                assert {name.removesuffix(".json") for name in redone} == eastern(output)
                assert 0 < len(redone) < len(before) == len(after), "only the touched blocks"
                assert newer["properties"]["updated"] > item["properties"]["updated"], "a new version of the Item"
                origins = [link["href"] for link in newer["links"] if link["rel"] == "derived_from"]
                assert {scene for scene in NEW if any(scene in href for href in origins)} == set(NEW)
                written = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
                n_quiet = len(ticks("unchanged"))
                wait_for(lambda: len(ticks("unchanged")) > n_quiet, seconds=90, what="a look with no news", log=log)
                quiet, run = ticks("unchanged")[-1]
                assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == written, "nothing is written"
            finally:
                client.delete_deployment(deployment)
        calls = [at for at in proxy.moments if run.start_time.timestamp() <= at <= run.end_time.timestamp()]
        seconds = (run.end_time - run.start_time).total_seconds()
        print(
            f"{len(redone)} of {len(after)} blocks redone; with nothing new {len(calls)} API calls, "
            f"{quiet['seconds']:.2f} s for the look, {seconds:.1f} s for the flow run"
        )
        assert 1 <= len(calls) <= 2
        assert quiet["seconds"] < 5
    whole = run_job(
        make_job({**job, "output": str(tmp_path / "fresh"), "source": {**job["source"], "href": api}}, base=Path())
    )
    assert same_layers(whole.output, output), "an update is what a fresh run would be"
