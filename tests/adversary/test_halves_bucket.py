"""Nothing half in a bucket: each write of a run is broken once, and what a killed run left is found."""

from __future__ import annotations

import os
from pathlib import Path

import boto3
import pytest

from tests.support.fault_proxy import proxy_before
from tests.support.halves import Killed, Writes, counted, differing, make, many_parts, write_jobs
from tilewright.flows.environment import storage_options
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.status import product_status
from tilewright.tasks.storage.secrets import SECRETS
from tilewright.tasks.storage.storage import open_storage

KINDS = ("500", "lost", "half")
"""A write that is refused before it arrives, one whose answer is lost, and one whose body is cut off."""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return write_jobs(tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def product(jobs, tmp_path_factory):
    with many_parts():
        yield Path(make(jobs[0], tmp_path_factory.mktemp("product") / "out").output)


@pytest.fixture
def proxy(moto, monkeypatch):
    keys = {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two", "AWS_REGION": "us-east-1"}
    client = boto3.client(
        "s3",
        endpoint_url=moto,
        region_name="us-east-1",
        aws_access_key_id="one",
        aws_secret_access_key="two",  # noqa: S106 -- of no account
    )
    client.create_bucket(Bucket="halves")
    with proxy_before(moto) as before:
        for name, value in {**keys, "AWS_ENDPOINT_URL": before.url}.items():
            monkeypatch.setenv(name, value)
        yield before


def stored(output, folder):
    """The objects of a product in a bucket as files."""
    storage = open_storage(output, options=storage_options(output))
    for key in list(storage.keys()):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(storage.read(key) or b"")
    return folder


def broken_writes(proxy, jobs, product, folder, *, share, first):
    """A run in which every ``share``-th write is broken, each kind in turn."""
    output = f"s3://halves/{first}-{share}"
    proxy.writes = 0
    proxy.break_write = lambda number: KINDS[number // share % 3] if number % share == first else None
    make(jobs[0], output)
    proxy.break_write = lambda _number: None
    assert product_status(output)["state"] == "complete"
    assert differing(stored(output, folder), product) == []


def test_a_run_whose_writes_are_broken_makes_the_same_product(proxy, jobs, product, tmp_path):
    broken_writes(proxy, jobs, product, tmp_path / "down", share=9, first=4)


@pytest.mark.skipif(
    "TILEWRIGHT_EVERY" not in os.environ,
    reason="each write of a run broken in each of three ways: 27 runs, minutes; with TILEWRIGHT_EVERY=1",
)
@pytest.mark.parametrize("first", range(27))
def test_each_write_is_broken_once_in_each_way(first, proxy, jobs, product, tmp_path):
    broken_writes(proxy, jobs, product, tmp_path / "down", share=27, first=first)


@pytest.mark.parametrize("by", ["call", "clean"])
def test_secrets_that_a_killed_run_left_in_a_bucket_are_removed(by, proxy, jobs, product):
    output = f"s3://halves/secrets-{by}"
    with counted(Writes(only=lambda key: key == f"-{SECRETS}", at=1)) as writes, pytest.raises(Killed):
        make(jobs[0], output)
    assert writes.dead
    storage = open_storage(output, options=storage_options(output))
    storage.write(SECRETS, b"[]")
    assert product_status(output)["state"] == "complete"
    if by == "clean":
        assert clean_output(output, say=lambda _words: None)[-1] == SECRETS
    else:
        assert make(jobs[0], output).already_complete
    assert storage.read(SECRETS) is None
