"""The calls and the time of a watch that finds nothing new in an API."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.danube import SCENE, WATER
from tests.support.http_servers import QuietHandler, running
from tilewright.flows.job.job import make_job
from tilewright.flows.maintain.watch import _write_watermark, watch_once
from tilewright.flows.plan.scenes import find_scenes
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.storage import open_storage

FINISHED = {
    "type": "Feature", "stac_version": "1.1.0", "id": "kept", "properties": {"processing:expression": {}}, "links": [],
    "assets": {"data": {"href": "./data.zarr"}, "plan": {"href": "./.tilewright/plan.json"}}, "bbox": [0, 0, 1, 1],
    "geometry": {},
}  # fmt: skip
"""An Item by which a product counts as finished."""


@pytest.fixture
def api(real):
    """A STAC API of one scene, and the list of calls it got."""
    item = json.loads((real / "sentinel-2-l2a" / SCENE / f"{SCENE}.json").read_text())
    calls = []

    class Answers(QuietHandler):
        def do_GET(self):  # noqa: N802 -- http.server's name
            calls.append(f"GET {self.path}")
            self.reply({"conformsTo": [], "links": [{"rel": "search", "href": f"{place}/search", "method": "POST"}]})

        def do_POST(self):  # noqa: N802 -- http.server's name
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            calls.append(f"POST {self.path} {body['datetime']}")
            start = body["datetime"].split("/")[0]
            features = [item] if start <= item["properties"]["datetime"] else []
            self.reply({"type": "FeatureCollection", "features": features, "links": []})

    for asset in item["assets"].values():
        asset["href"] = f"https://example.com/{Path(asset['href']).name}"
    item["links"] = []
    with running(Answers) as place:
        yield place, calls


def test_a_watch_that_finds_nothing_is_one_search_since_the_watermark(api, tmp_path):
    place, calls = api
    template = {
        **WATER, "name": "kept", "period": "2021-01-01/2021-12-31",
        "source": {"href": place, "collections": {"sentinel-2-l2a": "sentinel-2-l2a"}}, "output": str(tmp_path / "out"),
    }  # fmt: skip
    found = find_scenes(make_job(template, base=Path()))
    assert [scene.id for scene in found] == [SCENE]
    storage = open_storage(str(tmp_path / "out"), create=True)
    storage.write_json(".tilewright/plan.json", {})
    storage.write_json("item.json", FINISHED)
    digests = {f"{scene.collection}/{scene.id}": json_digest(scene.to_json())[:16] for scene in found}
    _write_watermark(str(tmp_path / "out"), found, digests, None)
    calls.clear()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    began = time.perf_counter()
    results = watch_once(template, base=Path(), now=datetime(2021, 7, 1, tzinfo=UTC), overlap=timedelta(days=10))
    seconds = time.perf_counter() - began
    assert [result.state for result in results] == ["unchanged"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before, "nothing is written"
    print(f"{len(calls)} calls, {1000 * seconds:.0f} ms")
    assert len(calls) <= 2
    assert "2021-06-07T10" in calls[-1], "ten days before the scene of 17 June"
