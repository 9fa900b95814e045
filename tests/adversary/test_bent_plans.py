"""Frozen plans that somebody bent: in an output that others may write, and beside the Item of another place."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.name_table import PUBLIC
from tests.support.places import Place
from tests.support.replaced import Small, interrupt, small
from tilewright.catalogs.network.connect import RefusedError
from tilewright.flows.access import plan_sources
from tilewright.flows.maintain.push import push_product
from tilewright.flows.maintain.rerun import _as_of, rerun_item
from tilewright.flows.run.predict import run_job
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


def rebuilt(small: Small, folder: Path, *, item: Any = None, plan: Any = None, href: str | None = None) -> None:
    """Rebuild a product whose Item or plan was changed; the Item's checksum is that of the plan beside it."""
    shutil.copytree(small.before, folder)
    made = json.loads((folder / "item.json").read_text())
    asset = made["assets"]["plan"]
    path = folder / asset["href"]
    frozen = json.loads(path.read_text())
    path.write_text(json.dumps(plan(frozen) if plan else frozen))
    asset["file:checksum"] = "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
    asset["href"] = asset["href"] if href is None else href
    (folder / "item.json").write_text(json.dumps({**made, **(item or {})}))
    rerun_item(str(folder / "item.json"), output=str(folder.parent / "again"))


BROKEN: dict[str, dict[str, Any]] = {
    "a plan above the Item": {"href": "../../etc/hostname"},
    "a plan without a name": {"href": ""},
    "a plan with a null": {"href": "a\0b"},
    "a plan that is a list": {"plan": lambda plan: [plan]},
    "a plan that is a number": {"plan": lambda plan: 1},
    "a source that is none": {"plan": lambda plan: {**plan, "source": []}},
    "a source of no kind": {"plan": lambda plan: {**plan, "source": {}}},
    "a source at a number": {"plan": lambda plan: {**plan, "source": {**plan["source"], "href": 7}}},
    "hosts that are numbers": {"plan": lambda plan: {**plan, "source": {**plan["source"], "hosts": [5]}}},
    "hosts that are a mapping": {"plan": lambda plan: {**plan, "source": {**plan["source"], "hosts": {"*": "*"}}}},
    "a word for yes or no": {"plan": lambda plan: {**plan, "source": {**plan["source"], "dn_as_esa": "no"}}},
    "collections in a row": {"plan": lambda plan: {**plan, "source": {**plan["source"], "collections": ["a"]}}},
    "a source of other fields": {"plan": lambda plan: {**plan, "source": {**plan["source"], "rule": "*"}}},
    "a card of numbers": {"plan": lambda plan: {**plan, "card": {**plan["card"], "reference": None}}},
    "a card without a digest": {"plan": lambda plan: {**plan, "card": {}}},
    "a period of words": {"plan": lambda plan: {**plan, "request": {**plan["request"], "period": ["ever"]}}},
    "an Item without an id": {"item": {"id": None}},
    "an Item of lists": {"item": {"properties": {"processing:expression": {"expression": {"provider": [1]}}}}},
    "an Item of no batch": {
        "item": {"properties": {"processing:expression": {"expression": {"job": {"tile": {"batch": "many"}}}}}}
    },
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_item_or_plan_of_other_types_is_refused_in_a_sentence(small: Small, tmp_path, kind):
    with pytest.raises(StoreError):
        rebuilt(small, tmp_path / "out", **BROKEN[kind])


@pytest.mark.parametrize("address", ["http://[::1", "https://[x", "http://[", "ftp://a", "a"])
def test_an_address_to_push_to_that_is_none_is_refused_in_a_sentence(small: Small, address):
    with pytest.raises(StoreError):
        push_product(str(small.before), address)
    with pytest.raises(StoreError):
        push_product(str(small.before), "http://127.0.0.1:9", address=address)


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
    rules = plan_sources(_as_of(Plan.from_json(plain), origin)).single.rules
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
    with pytest.raises(StoreError, match="add --trusted if the product is your own"):
        _as_of(Plan.from_json(plain), "s3://products/map")
    plain["source"]["s3_endpoint"] = "https://eodata.dataspace.copernicus.eu"
    assert plan_sources(_as_of(Plan.from_json(plain), "s3://products/map")).single.s3_endpoint


def test_the_plan_of_an_item_elsewhere_names_no_model_to_fetch(small):
    plain = json.loads((small.before / ".tilewright" / "plan.json").read_text())
    plain["source"]["s3_endpoint"] = None
    assert _as_of(Plan.from_json(plain), "s3://products/map"), "a path or a built-in name is read from here"
    for key in ("reference", "reference.2"):
        for model in (
            "https://models.example.org/a",
            "http://127.0.0.1/card.json",
            "s3://models/a",
            "HTTPS://b/c.json",
        ):
            bent = {**plain, "card": {**plain["card"], key: model}}
            with pytest.raises(StoreError, match="--trusted if you trust"):
                _as_of(Plan.from_json(bent), "s3://products/map")
