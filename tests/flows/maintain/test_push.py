"""`tilewright push`: a finished product's Items in a STAC API, created, then updated; refusals in one sentence."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.output_places import open_place
from tests.support.products import read, write_job
from tests.support.stac_api import TOKEN, stac_api
from tilewright.catalogs.publish.validate import validate_collection, validate_item
from tilewright.flows.cli.main import app
from tilewright.flows.environment import STAC_TOKEN
from tilewright.flows.run.predict import run_job

pytestmark = pytest.mark.usefixtures("small_pictures")
PUBLIC = "https://maps.example.com/small"


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setenv(STAC_TOKEN, f" {TOKEN}\n")
    with stac_api() as found:
        yield found


def push(*arguments):
    answer = CliRunner().invoke(app, ["push", *map(str, arguments)])
    assert TOKEN not in answer.output
    return answer


def items_of(state):
    return {path.rpartition("/items/")[2]: item for path, item in state.documents.items() if "/items/" in path}


def test_a_product_is_pushed_and_a_second_push_updates_it(api, whole, tmp_path):
    address, state = api
    product = tmp_path / "product"
    shutil.copytree(whole, product)
    first = push(product, address, "--address", f"{PUBLIC}/", "--json")
    assert first.exit_code == 0, first.output
    made = json.loads(first.stdout)
    item = json.loads((product / "item.json").read_text())
    assert made == {
        "api": address,
        "collection": item["collection"],
        "items": [
            {
                "action": "created",
                "href": f"{address}/collections/{item['collection']}/items/{item['id']}",
                "id": item["id"],
            }
        ],
        "output": str(product),
    }
    stored = items_of(state)[item["id"]]
    validate_item(stored)
    validate_collection(state.documents[f"/collections/{item['collection']}"])
    assert stored["assets"]["class"]["href"] == f"{PUBLIC}/class.tif"
    assert all(asset["href"].startswith(f"{PUBLIC}/") for asset in stored["assets"].values())
    assert str(Path(whole).parent) not in json.dumps(state.documents), "no path of this machine"
    again = push(product, address, "--address", PUBLIC)
    assert (again.exit_code, again.stdout) == (0, f"{item['id']}: unchanged, {made['items'][0]['href']}\n")
    item["properties"]["title"] = "Another"
    (product / "item.json").write_text(json.dumps(item))
    assert "updated" in push(product, address, "--address", PUBLIC).stdout
    assert items_of(state)[item["id"]]["properties"]["title"] == "Another"


def test_a_product_in_a_bucket_says_its_place_there_beside_its_public_address(api, whole, tmp_path, moto, monkeypatch):
    address, state = api
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    for path in sorted(Path(whole).rglob("*")):
        if path.is_file():
            storage.write(str(path.relative_to(whole)), path.read_bytes())
    first = push(storage.uri, address, "--address", PUBLIC)
    assert (first.exit_code, "created" in first.output) == (0, True), first.output
    (stored,) = items_of(state).values()
    validate_item(stored)
    hrefs = [(each["href"], each["alternate"]) for each in stored["assets"].values()]
    assert hrefs == [(href, {"s3": {"href": storage.uri + href.removeprefix(PUBLIC)}}) for href, _ in hrefs]
    assert all(href.startswith(f"{PUBLIC}/") for href, _ in hrefs)
    # Alone it is what people read.
    assert push(storage.uri, address).exit_code == 0
    (stored,) = items_of(state).values()
    assert stored["assets"]["class"]["href"] == f"{storage.uri}/class.tif"
    assert "alternate" not in stored["assets"]["class"]


def test_a_large_product_is_pushed_with_the_items_of_its_parts(api, tmp_path):
    address, state = api
    job = write_job(tmp_path / "job", side=600, tile={"block": 512, "step": 128})
    output = Path(run_job(read(job, tmp_path / "out", cog={"max_side": 512})).output)
    names = sorted(path.name for path in output.glob("item_r*c*.json"))
    assert len(names) == 4
    made = json.loads(push(output, address, "--address", PUBLIC, "--json").stdout)["items"]
    assert [entry["action"] for entry in made] == ["created"] * 5
    item = json.loads((output / "item.json").read_text())
    assert made[-1]["id"] == item["id"], "the product's own Item comes last, when its parts are there"
    assert set(items_of(state)) == {entry["id"] for entry in made}
    related = [link["href"] for link in items_of(state)[item["id"]]["links"] if link["rel"] == "related"]
    assert sorted(related) == [f"{PUBLIC}/{name}" for name in names]
    again = push(output, address, "--address", PUBLIC)
    assert again.stdout.splitlines()[1] == "and 4 Items of its parts: 4 unchanged"
    (output / names[0]).unlink()
    refused = push(output, address, "--address", PUBLIC)
    assert refused.exit_code == 2
    assert f"lacks {names[0]}" in refused.output


def test_what_is_no_finished_product_is_refused(api, whole, tmp_path):
    begun = tmp_path / "begun"
    shutil.copytree(whole, begun)
    (begun / "item.json").unlink()
    (tmp_path / "empty").mkdir()
    for output in (begun, tmp_path / "empty", tmp_path / "nothing"):
        answer = push(output, api[0], "--address", PUBLIC)
        assert answer.exit_code == 2
        assert (
            answer.output == f"tilewright: {output} holds no finished product: run its job to the end, then push it.\n"
        )


def test_a_folder_without_a_public_address_is_refused(api, whole):
    for more in ((), ("--address", "/srv/maps")):
        answer = push(whole, api[0], *more)
        assert answer.exit_code == 2
        assert "give the product's public URL with --address" in answer.output
    assert api[1].documents == {}


def test_an_api_without_transactions_is_refused(api, whole):
    api[1].landing = {"conformsTo": ["https://api.stacspec.org/v1.0.0/core"]}
    answer = push(whole, api[0], "--address", PUBLIC)
    assert answer.exit_code == 2
    assert answer.output == (
        f"tilewright: {api[0]} does not accept Items: it lacks the transaction extension; give an API that has it\n"
    )


def test_an_api_that_does_not_answer_is_a_failure(whole):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = push(whole, f"http://127.0.0.1:{taken.getsockname()[1]}", "--address", PUBLIC)
    assert answer.exit_code == 1
    assert "cannot be reached (no connection" in answer.output


@pytest.mark.parametrize("token", ["wrong-token", "", "two\nlines"])
def test_a_token_that_is_not_accepted_is_a_failure_that_names_the_variable(api, whole, monkeypatch, token):
    monkeypatch.setenv(STAC_TOKEN, token)
    answer = push(whole, api[0], "--address", PUBLIC)
    assert answer.exit_code == 1
    assert answer.output.count("\n") == 1
    assert not token or token not in answer.output
    if "\n" not in token:
        assert f"put a token that may write into {STAC_TOKEN}" in answer.output
        assert "HTTP 401" in answer.output
