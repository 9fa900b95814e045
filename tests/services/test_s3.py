"""Products in a bucket: the same as local ones, whatever the server does in the meantime."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import boto3
import numpy as np
import pytest
import rasterio

from tests.support.fault_proxy import FAULTS, proxy_before
from tests.support.products import N_LARGE, assert_same_product, layer, read, tilewright, write_job
from tilewright.catalogs.errors import CatalogError
from tilewright.flows.environment import reading_settings
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.tasks.read.gdal import gdal_path, reading_env
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.ledger import BlockEntry, read_entries, write_entry
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")
SECRET = "wJalrSECRETxKEYxNEVERxTOxBExWRITTEN"  # noqa: S105 -- looked for in all that is written
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTNOTWRITTEN", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-central-1"}


@pytest.fixture(scope="module")
def bucket(moto):
    client = boto3.client(
        "s3",
        endpoint_url=moto,
        region_name=KEYS["AWS_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket="maps", CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_REGION"]})
    return client


@pytest.fixture
def proxy(moto, bucket, monkeypatch):
    with proxy_before(moto) as before:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": before.url}.items():
            monkeypatch.setenv(name, value)
        yield before


def download(bucket, prefix, folder):
    """Every object under a prefix as a file."""
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket="maps", Prefix=f"{prefix}/")
    for entry in (entry for page in pages for entry in page.get("Contents", [])):
        path = folder / entry["Key"].removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        bucket.download_file("maps", entry["Key"], str(path))
    return folder


def test_with_one_request_in_ten_failing_the_product_is_the_local_one(proxy, bucket, job, whole, tmp_path):
    proxy.share, proxy.random = 0.1, type(proxy.random)(3)
    said = []
    outcome = run_job(read(job, "s3://maps/faulty/one"), listener=said.append)
    assert len(set(proxy.faults)) == len(FAULTS), proxy.faults
    proxy.share = 0.0
    assert outcome.output == "s3://maps/faulty/one"
    folder = download(bucket, "faulty/one", tmp_path / "down")
    assert_same_product(folder, whole)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert KEYS["AWS_ACCESS_KEY_ID"].encode() not in content, path
    assert SECRET not in str(said)
    assert product_status(outcome.output)["state"] == "complete"
    assert run_job(read(job, outcome.output)).already_complete


def test_the_command_speaks_s3_and_its_words_hold_no_credential(proxy, job):
    output = "s3://maps/by-command"
    planned = tilewright("plan", job, "--output", output, "--json")
    assert json.loads(planned.stdout)["n_blocks"] == N_LARGE
    proxy.expired = True
    refused = tilewright("run", job, "--output", output)
    proxy.expired = False
    assert refused.returncode == 2, refused.stderr
    assert "access was refused" in refused.stderr
    assert tilewright("status", output).returncode == 2
    for answer in (planned, refused):
        assert SECRET not in answer.stdout + answer.stderr
        assert "Traceback" not in answer.stderr


def test_credentials_that_expire_in_the_middle_end_the_run_and_new_ones_go_on(proxy, bucket, job, whole, tmp_path):
    output = "s3://maps/expired"
    storage = open_storage(output, options={"endpoint": proxy.url, "region": KEYS["AWS_REGION"]})

    def expire(event):
        if len(list(storage.keys(".tilewright/ledger"))) >= N_LARGE // 3:
            proxy.expired = True

    with pytest.raises(StorageError, match=r"access was refused .*Renew the credentials"):
        run_job(read(job, output), listener=lambda event: None if proxy.expired else expire(event))
    proxy.expired = False
    kept = read_entries(storage)
    assert 0 < len(kept) < N_LARGE
    assert product_status(output)["state"] == "stopped"
    run_job(read(job, output))
    assert {name: read_entries(storage)[name].seconds for name in kept} == {n: kept[n].seconds for n in kept}
    assert_same_product(download(bucket, "expired", tmp_path / "down"), whole)


def test_two_workers_on_one_block_leave_one_winner_and_no_error(proxy):
    storage = open_storage("s3://maps/race", options={"endpoint": proxy.url})
    start, failed = threading.Barrier(8), []

    def work(number):
        start.wait()
        try:
            for block in range(10):
                write_entry(storage, BlockEntry(row=0, col=block, key="same", written=True, windows_run=number))
        except Exception as error:
            failed.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed == []
    existing = read_entries(storage)
    assert len(existing) == 10
    later = BlockEntry(row=0, col=0, key="same", written=True, windows_run=99)
    write_entry(storage, later)
    assert read_entries(storage)["0_0"] == existing["0_0"]


def test_scenes_in_a_bucket_are_read_with_the_same_settings(proxy, bucket, job, whole, tmp_path):
    plain = json.loads(job.read_text())
    for entry in plain["source"]["files"]:
        bucket.upload_file(entry["href"], "maps", f"scenes/{Path(entry['href']).name}")
        entry["href"] = f"s3://maps/scenes/{Path(entry['href']).name}"
    moved = tmp_path / "job.json"
    moved.write_text(json.dumps(plain))
    output = run_job(read(moved, tmp_path / "out")).output
    assert_same_product(Path(output), whole)


def test_a_layer_in_several_files_is_shown_as_one_where_it_lies(proxy, bucket, tmp_path):
    job = write_job(tmp_path, side=600, tile={"block": 256, "step": 256})
    local = Path(run_job(read(job, tmp_path / "whole")).output)
    outcome = run_job(read(job, "s3://maps/cut", cog={"max_side": 512}))
    with reading_env(reading_settings()), rasterio.open(gdal_path("s3://maps/cut/class.vrt")) as dataset:
        assert np.array_equal(dataset.read(1), layer(local, "class"))
    names = {entry["Key"] for entry in bucket.list_objects_v2(Bucket="maps", Prefix="cut/")["Contents"]}
    parts = {name for name in names if name.startswith("cut/class_r") and name.endswith(".tif")}
    assert len(parts) >= 4
    assert {f"cut/item_{name[len('cut/class_') :].removesuffix('.tif')}.json" for name in parts} <= names
    stamps = {name: bucket.head_object(Bucket="maps", Key=name)["LastModified"] for name in parts}
    bucket.delete_object(Bucket="maps", Key="cut/item.json")
    again = run_job(read(job, "s3://maps/cut", cog={"max_side": 512}))
    assert {name: bucket.head_object(Bucket="maps", Key=name)["LastModified"] for name in parts} == stamps, "kept"
    assert not again.already_complete
    answer = rerun_item(f"{outcome.output}/item.json", output=str(tmp_path / "rebuilt"), trusted=True)
    assert answer["identical"], answer["sentence"]


def test_a_product_in_a_bucket_is_cleaned_and_rebuilt_from_its_item(proxy, job, tmp_path):
    run_job(read(job, "s3://maps/again"))
    assert clean_output("s3://maps/again") == []
    with pytest.raises(CatalogError, match="must not name local files.*--trusted"):
        rerun_item("s3://maps/again/item.json", output=str(tmp_path / "refused"))
    answer = rerun_item("s3://maps/again/item.json", output=str(tmp_path / "rebuilt"), trusted=True)
    assert answer["identical"], answer["sentence"]


@pytest.mark.parametrize(
    ("output", "words"),
    [("s3://no-such-bucket/x", "no such bucket"), ("ftp://maps/x", "unknown scheme")],
)
def test_an_output_that_is_not_there_is_refused(proxy, job, output, words):
    with pytest.raises(StoreError, match=words):
        run_job(read(job, output))


def test_an_endpoint_that_is_no_url_is_refused(proxy, job, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "minio:9000")
    with pytest.raises(StoreError, match="give an http"):
        run_job(read(job, "s3://maps/x"))
    assert os.environ["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1")
