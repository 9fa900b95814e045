"""Uploads that were begun and never completed, found and ended on a server that speaks S3."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.products import tilewright
from tilewright.flows.environment import s3_keys
from tilewright.flows.maintain.clean import NO_KEYS, clean_output
from tilewright.tasks.storage import multipart
from tilewright.tasks.storage.errors import StorageError
from tilewright.tasks.storage.lock import OWNERSHIP
from tilewright.tasks.storage.multipart import UnfinishedUpload, unfinished_uploads
from tilewright.tasks.storage.s3_request import S3Keys, bucket_url, query_string, signed_headers
from tilewright.tasks.storage.storage import open_storage

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "AWS_REGION": "eu-central-1"}


@pytest.fixture
def bucket(moto, monkeypatch, request):
    """A client, and a bucket of this test's own with a product's ledger in it."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=moto, region_name=KEYS["AWS_REGION"])
    name = f"maps-{abs(hash(request.node.name)) % 10**8}"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_REGION"]})
    client.put_object(Bucket=name, Key="a map/one/.tilewright/plan.json", Body=b"{}")
    return client, name


def begin(client, name, key):
    made = client.create_multipart_upload(Bucket=name, Key=key)
    client.upload_part(Bucket=name, Key=key, UploadId=made["UploadId"], PartNumber=1, Body=b"x" * 100)
    return made["UploadId"]


def unfinished(client, name):
    return sorted(entry["Key"] for entry in client.list_multipart_uploads(Bucket=name).get("Uploads", []))


def test_uploads_of_the_product_are_ended_and_those_of_its_neighbours_stay(bucket):
    client, name = bucket
    ours = [begin(client, name, f"a map/one/{key}") for key in ("class.tif", "data.zarr/class/c/0/0", "class.tif")]
    neighbours = ["a map/one-more/class.tif", "b/class.tif"]
    for key in neighbours:
        begin(client, name, key)
    output = f"s3://{name}/a map/one"
    keys = ("class.tif", "data.zarr/class/c/0/0", "class.tif")
    expected = sorted(f"{key} (upload {upload})" for key, upload in zip(keys, ours, strict=True))
    assert clean_output(output, older_than="5000w") == [], "all of them are younger"
    assert clean_output(output, dry_run=True) == expected
    assert len(unfinished(client, name)) == 5
    answer = tilewright("clean", output, "--json")
    assert json.loads(answer.stdout) == {"removed": expected, "dry_run": False}, answer.stderr
    assert unfinished(client, name) == neighbours
    assert clean_output(output) == []
    found = [entry["Key"] for entry in client.list_objects_v2(Bucket=name)["Contents"]]
    owner = {f"a map/one/{key}" for key in OWNERSHIP}
    assert set(found) == {"a map/one/.tilewright/plan.json", *owner}, "whoever cleans owns the output meanwhile"


def test_without_keys_it_says_what_it_could_not_look_for(bucket, monkeypatch):
    _client, name = bucket
    said: list[str] = []
    monkeypatch.setattr("tilewright.flows.maintain.clean.s3_keys", lambda: None)
    assert clean_output(f"s3://{name}/a map/one", say=said.append) == []
    assert said == [NO_KEYS]


def test_a_refusal_names_the_answer_of_the_store(bucket):
    _client, name = bucket
    storage = open_storage(f"s3://{name}-gone/x", options={"endpoint": boto3.client("s3").meta.endpoint_url})
    with pytest.raises(StorageError, match=r"list the unfinished uploads to s3://.*HTTP 404 NoSuchBucket\."):
        unfinished_uploads(storage, S3Keys(key="k", secret="s"))  # noqa: S106


def test_every_page_is_read_and_strange_keys_are_left_alone(monkeypatch):
    pages = [
        (
            "<Upload><Key>p/a</Key><UploadId>1</UploadId><Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>"
            "<IsTruncated>true</IsTruncated><NextKeyMarker>p/a</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"
        ),
        (
            "<Upload><Key>q/b</Key><UploadId>2</UploadId><Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>"
            "<Upload><Key>p/c</Key><UploadId>3</UploadId><Initiated>2026-01-02T00:00:00.000Z</Initiated></Upload>"
        ),
    ]
    asked: list[dict[str, str]] = []

    def send(_method, _url, query, **_how):
        asked.append(dict(query))
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<ListMultipartUploadsResult xmlns="{space}">{pages[len(asked) - 1]}</ListMultipartUploadsResult>'
        return 200, body.encode()

    monkeypatch.setattr(multipart, "send", send)
    found = unfinished_uploads(open_storage("s3://maps/p"), S3Keys(key="k", secret="s"))  # noqa: S106
    day = 86400.0
    first = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert found == [
        UnfinishedUpload(key="a", upload="1", began=first),
        UnfinishedUpload(key="c", upload="3", began=first + day),
    ]
    assert [query.get("key-marker") for query in asked] == [None, "p/a"]


@pytest.mark.parametrize("token", ["", "a/session+token="])
@pytest.mark.parametrize(
    "url", ["https://maps.s3.eu-central-1.amazonaws.com/", "http://127.0.0.1:9/maps/a%20map/x.tif"]
)
def test_requests_are_signed_as_amazons_own_library_signs_them(url, token, monkeypatch):
    query = {"uploads": "", "prefix": "a map/one/", "upload-id-marker": "x~y+z="}
    now = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    keys = S3Keys(key=KEYS["AWS_ACCESS_KEY_ID"], secret=KEYS["AWS_SECRET_ACCESS_KEY"], token=token)
    ours = signed_headers("GET", url, query, keys=keys, region="eu-central-1", now=now)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
    request = AWSRequest(method="GET", url=f"{url}?{query_string(query)}", headers={})
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials(keys.key, keys.secret, token or None), "s3", "eu-central-1").add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]


def test_buckets_have_their_addresses_and_keys_are_not_shown():
    assert bucket_url("maps", endpoint=None, region="eu-west-1") == "https://maps.s3.eu-west-1.amazonaws.com"
    assert bucket_url("my.maps", endpoint=None, region="eu-west-1") == "https://s3.eu-west-1.amazonaws.com/my.maps"
    assert bucket_url("maps", endpoint="http://h:9/", region="x") == "http://h:9/maps"
    keys = s3_keys({**KEYS, "AWS_SESSION_TOKEN": "t0ken"})
    assert keys is not None
    assert (keys.key, keys.token) == ("AKIDEXAMPLE", "t0ken")
    assert "wJalr" not in repr(keys)
    assert "t0ken" not in repr(keys)
