from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from obstore.store import S3Store
from onnx import TensorProto, helper

from tilewright.models.card.registry import builtin_names, find_card
from tilewright.models.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_model(folder: Path) -> dict[str, Any]:
    """A folder with a card and a graph that passes one band through; the card as written."""
    folder.mkdir(parents=True, exist_ok=True)
    port = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, "h", "w"]) for name in ("x", "echo")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["echo"])], "g", port[:1], port[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    array = {"shape": [-1, 1, -1, -1], "dim_order": ["batch", "bands", "height", "width"], "data_type": "float32"}
    card = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.5.2/schema.json"],
        "id": "same",
        "geometry": None,
        "properties": {
            "datetime": "2026-01-01T00:00:00Z",
            "mlm:name": "same",
            "mlm:architecture": "identity",
            "mlm:tasks": ["regression"],
            "bands": [{"name": "red"}],
            "mlm:input": [{"name": "x", "bands": ["red"], "input": array, "tw:collection": "sentinel-2-l2a"}],
            "mlm:output": [{"name": "echo", "tasks": ["regression"], "result": array}],
        },
        "assets": {
            "model": {
                "href": "./model.onnx",
                "roles": ["mlm:model"],
                "mlm:artifact_type": "onnx",
                "file:checksum": "1220" + hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
            }
        },
        "links": [],
    }
    (folder / "card.json").write_text(json.dumps(card))
    return card


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address it is served under."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_builtin_is_found_by_name_and_verified() -> None:
    assert {"ndwi-water", "cva-change"} <= set(builtin_names())
    for name in builtin_names():
        assert find_card(name).name == name


def test_a_card_is_found_by_file_and_by_folder_relative_to_the_job(tmp_path: Path) -> None:
    write_model(tmp_path / "mine")
    by_folder = find_card("mine", base=tmp_path)
    by_file = find_card("mine/card.json", base=tmp_path)
    assert by_folder.sha256 == by_file.sha256
    assert find_card(str(tmp_path / "mine")).name == "same"


def test_an_unknown_name_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"'ndwi-watr' \(did you mean 'ndwi-water'\?\).*cva-change"):
        find_card("ndwi-watr", base=tmp_path)


@pytest.mark.parametrize("tail", ["/m", "/m/", "/m/card.json"])
def test_a_card_is_fetched_with_its_model_into_a_folder_of_its_sha(
    tmp_path: Path, served: tuple[Path, str], tail: str
) -> None:
    folder, address = served
    write_model(folder / "m")
    card = find_card(address + tail, cache=tmp_path / "cache")
    sha = hashlib.sha256((folder / "m/card.json").read_bytes()).hexdigest()
    assert card.folder == tmp_path / "cache" / sha
    assert card.model_path.read_bytes() == (folder / "m/model.onnx").read_bytes()


def test_a_second_call_reads_the_card_anew_and_the_model_from_the_cache(
    tmp_path: Path, served: tuple[Path, str]
) -> None:
    folder, address = served
    write_model(folder)
    find_card(address, cache=tmp_path / "cache")
    (folder / "model.onnx").unlink()
    assert find_card(address, cache=tmp_path / "cache").name == "same"
    (folder / "card.json").write_text((folder / "card.json").read_text() + " ")
    with pytest.raises(CardError, match=r"model\.onnx cannot be read"):
        find_card(address, cache=tmp_path / "cache")


def test_a_model_that_is_not_the_cards_is_refused_and_not_kept(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    write_model(folder)
    (folder / "model.onnx").write_bytes(b"something else")
    with pytest.raises(CardError, match="file:checksum"):
        find_card(address, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_fetched_card_cannot_reach_out_of_its_folder(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    card = write_model(folder)
    for href in ("../../x.onnx", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x"):
        card["assets"]["model"]["href"] = href
        (folder / "card.json").write_text(json.dumps(card))
        with pytest.raises(CardError, match="own folder"):
            find_card(address, cache=tmp_path / "cache")


def test_a_card_is_fetched_from_a_bucket(tmp_path: Path, moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "ENDPOINT_URL": moto,
        "REGION": "eu-central-1",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    write_model(tmp_path / "m")
    store = S3Store("models", virtual_hosted_style_request=False, client_options={"allow_http": True})
    urllib.request.urlopen(urllib.request.Request(f"{moto}/models", method="PUT"))  # noqa: S310
    for name in ("card.json", "model.onnx"):
        store.put(f"deep/m/{name}", (tmp_path / "m" / name).read_bytes())
    assert find_card("s3://models/deep/m", cache=tmp_path / "cache").name == "same"
    with pytest.raises(CardError, match="cannot be read"):
        find_card("s3://models/deep/none", cache=tmp_path / "cache")


def test_what_is_too_large_is_not_fetched(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "card.json").write_bytes(b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(CardError, match="more than"):
        find_card(address, cache=tmp_path / "cache")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/card.json?sig=secret", "http://me:word@127.0.0.1:9/m"])
def test_an_address_with_secrets_in_it_is_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(CardError) as refusal:
        find_card(url)
    assert "secret" not in str(refusal.value)
    assert "word" not in str(refusal.value)


def test_an_address_that_does_not_answer_is_one_sentence(tmp_path: Path, served: tuple[Path, str]) -> None:
    with pytest.raises(CardError, match="cannot be read") as refusal:
        find_card(served[1] + "/nothing/here", cache=tmp_path)
    assert "\n" not in str(refusal.value)
