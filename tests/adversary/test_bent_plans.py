"""Frozen plans that somebody bent: in an output that others may write, and beside the Item of another place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.name_table import PUBLIC
from tests.support.places import Place
from tests.support.replaced import Small, interrupt, small
from tilewright.catalogs.network.connect import RefusedError
from tilewright.flows.maintain.rerun import _as_of
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.worker import plan_source
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.storage.errors import StoreError

__all__ = ["small"]

pytestmark = pytest.mark.usefixtures("small_pictures")

INSIDE = ("http://169.254.169.254/x.tif", "file://other/x.tif", "/vsicurl/http://127.0.0.1/x.tif", "ftp://a.example/x")


def leads(href: str) -> Callable[[dict[str, Any]], None]:
    def bend(plan: dict[str, Any]) -> None:
        plan["inputs"][0]["scenes"][0]["assets"][0]["href"] = href

    return bend


def claims(**source: Any) -> Callable[[dict[str, Any]], None]:
    return lambda plan: plan["source"].update(source)


BENT = {
    **{href: leads(href) for href in INSIDE},
    "another source": claims(href="https://stac.example.org/"),
    "hosts that open": claims(hosts=["169.254.169.254"]),
    "an endpoint": claims(s3_endpoint="http://127.0.0.1:9"),
    "signatures": claims(signing="s3"),
    "another model": lambda plan: plan["card"].update(digest="0" * 64),
}


@pytest.mark.parametrize("kind", BENT)
def test_a_run_does_not_go_on_from_a_plan_that_leads_elsewhere(small: Small, tmp_path, kind):
    job = small.job(Place(small.folder), tmp_path / "out")
    interrupt(job, 2)
    path = tmp_path / "out" / ".tilewright" / "plan.json"
    plan = json.loads(path.read_text())
    BENT[kind](plan)
    path.write_text(json.dumps(plan))
    with pytest.raises(ValueError, match="refused|changed it"):
        run_job(job)


CLAIMED = {
    "a disk": {"href": "/data/list.json"},
    "this machine": {"href": "http://127.0.0.1:80/"},
    "a private network": {"href": "http://10.0.0.1/"},
    "a name inside": {"href": "http://inside.example.org/"},
    "hosts": {"href": "https://stac.example.org/", "hosts": ["inside.example.org", "public.example.org", "127.0.0.1"]},
}
NAMES = {"inside.example.org": "127.0.0.1", "public.example.org": PUBLIC, "10.0.0.1": "10.0.0.1"}


@pytest.mark.parametrize("origin", ["s3://products/map", "https://products.example.org/map"])
@pytest.mark.parametrize("kind", CLAIMED)
def test_the_plan_of_an_item_elsewhere_leads_where_a_catalog_there_may_whatever_it_claims(small, kind, origin):
    plain = json.loads((small.before / ".tilewright" / "plan.json").read_text())
    plain["source"].update({"kind": "static", "files": [], **CLAIMED[kind]})
    rules = plan_source(_as_of(Plan.from_json(plain), origin)).rules
    assert rules is not None

    def resolve(host: str, port: int) -> list[Any]:
        return [(2, 1, 6, "", (NAMES.get(host, host), port))]

    for host in ("inside.example.org", "127.0.0.1", "169.254.169.254", "10.0.0.1"):
        with pytest.raises(RefusedError):
            rules.addresses(host, 80, resolve)
    assert rules.addresses("public.example.org", 443, resolve)


def test_the_plan_of_an_item_elsewhere_chooses_no_endpoint_but_a_known_one(small):
    plain = json.loads((small.before / ".tilewright" / "plan.json").read_text())
    plain["source"]["s3_endpoint"] = "https://inside.example.org"
    with pytest.raises(StoreError, match="copy the product"):
        _as_of(Plan.from_json(plain), "s3://products/map")
    plain["source"]["s3_endpoint"] = "https://eodata.dataspace.copernicus.eu"
    assert plan_source(_as_of(Plan.from_json(plain), "s3://products/map")).s3_endpoint
