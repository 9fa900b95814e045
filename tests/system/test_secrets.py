"""No key, token or signature of a source in anything a run writes, prints or sends."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.danube import SCENE, WATER
from tests.support.products import tilewright

boto3 = pytest.importorskip("boto3", reason="the extra `dev` is not installed")

KEYS = {"AWS_ACCESS_KEY_ID": "AKIANOTTOBEWRITTEN", "AWS_SECRET_ACCESS_KEY": "sEcReTnOtToBeWrItTeN"}
SIGNS = (*KEYS.values(), "X-Amz-", "Signature=", "Credential=")
"""What a presigned URL and its keys look like."""


@pytest.fixture(scope="module")
def signed_source(real, moto, tmp_path_factory):
    """A catalog whose files are in a bucket that is read by presigned URLs."""
    client = boto3.client(
        "s3",
        endpoint_url=moto,
        region_name="us-east-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket="scenes")
    home = real / "sentinel-2-l2a" / SCENE
    item = json.loads((home / f"{SCENE}.json").read_text())
    for asset in item["assets"].values():
        path = (home / asset["href"]).resolve()
        if path.is_file():
            client.upload_file(str(path), "scenes", path.name)
            asset["href"] = f"s3://scenes/{path.name}"
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "item.json").write_text(json.dumps({**item, "links": []}))
    links = [{"rel": "item", "href": "./item.json"}]
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "signed", "description": "signed", "links": links}
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return {"href": str(folder / "catalog.json"), "signing": "s3", "s3_endpoint": moto}, client


@pytest.fixture
def job(signed_source, tmp_path):
    fields = {**WATER, "name": "signed", "source": signed_source[0], "tile": {"block": 256, "step": 256}}
    (tmp_path / "job.json").write_text(json.dumps(fields))
    return tmp_path / "job.json"


def found_in(text):
    return [sign for sign in SIGNS if sign.lower() in text.lower()]


def leaks(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    return {path.name: found for path in files if (found := found_in(path.read_bytes().decode("latin-1")))}


def test_a_run_of_a_signed_source_keeps_its_keys_to_itself(job, tmp_path):
    planned = tilewright("plan", job, "--json", env=KEYS)
    done = tilewright("run", job, "--output", tmp_path / "out", "--log", "json", env=KEYS)
    assert done.returncode == 0, done.stderr
    assert found_in(planned.stdout + planned.stderr + done.stdout + done.stderr) == []
    assert leaks(tmp_path / "out") == {}
    plan = json.loads((tmp_path / "out" / ".tilewright" / "plan.json").read_text())
    assert plan["source"]["signing"] == "s3", "the source really was signed"


def test_a_failure_of_a_signed_source_names_no_signature(job, signed_source, tmp_path):
    client = signed_source[1]
    body = client.get_object(Bucket="scenes", Key="nir.tif")["Body"].read()
    assert tilewright("run", job, "--output", tmp_path / "out", env=KEYS).returncode == 0
    # As if it had broken off before the last block: its plan stands, and the file is gone when it goes on.
    (tmp_path / "out" / "item.json").unlink()
    for entry in (tmp_path / "out" / ".tilewright" / "ledger").iterdir():
        entry.unlink()
    client.delete_object(Bucket="scenes", Key="nir.tif")
    try:
        refused = tilewright("plan", job, env=KEYS)
        assert refused.returncode == 2, refused.stderr
        assert "nir" in refused.stderr
        assert found_in(refused.stdout + refused.stderr) == []
        done = tilewright("run", job, "--output", tmp_path / "out", "--log", "json", env=KEYS)
    finally:
        client.put_object(Bucket="scenes", Key="nir.tif", Body=body)
    assert done.returncode == 1, done.stderr
    assert "nir" in done.stderr
    assert found_in(done.stdout + done.stderr) == []
    assert leaks(tmp_path / "out") == {}
    rows = [
        json.loads(line) for line in (tmp_path / "out" / ".tilewright" / "failures.ndjson").read_text().splitlines()
    ]
    assert {(row["class"], row["item"], row["band"]) for row in rows} == {("gone", SCENE, "nir")}
    assert json.loads((tmp_path / "out" / "progress.json").read_text())["failure"]["class"] == "gone"
    again = tilewright("run", job, "--output", tmp_path / "out", "--retry", "transient", env=KEYS)
    assert again.returncode == 2
    assert "set aside are: gone" in again.stderr
    healed = tilewright("run", job, "--output", tmp_path / "out", "--retry", "gone", env=KEYS)
    assert healed.returncode == 0, healed.stderr
    assert (tmp_path / "out" / "item.json").exists()


@pytest.mark.slow(reason="a Prefect server started for one run: 20 s")
def test_prefect_gets_no_key_of_a_signed_source(job, prefect_home, tmp_path):
    pytest.importorskip("prefect", reason="the extra `flows` is not installed")
    home = tmp_path / "prefect-home"
    shutil.copytree(prefect_home, home)
    env = {**KEYS, "PREFECT_HOME": str(home)}
    done = tilewright("run", job, "--output", tmp_path / "out", "--prefect", env=env)
    assert done.returncode == 0, done.stderr
    assert "telemetry" not in done.stderr, "nor is anything said of the server that is started for the run"
    assert "Traceback" not in done.stderr + done.stdout
    assert found_in(done.stdout + done.stderr) == []
    stored = b"".join(path.read_bytes() for path in home.glob("prefect.db*")).decode("latin-1")
    assert "run-report" in stored, "the server keeps its runs here"
    assert found_in(stored) == []
