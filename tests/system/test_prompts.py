"""Prompts: a model looks for what words name; a list of them gives a layer each, and wrong ones are refused by name."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from tests.support.places_cards import places_job, write_points
from tests.support.speakers import BANDS, pair, seeker, speaker
from tests.support.worlds import World, layer, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.models.card.card import load_card
from tilewright.models.errors import CardError
from tilewright.models.measure.check import check_card

pytest.importorskip("tokenizers", reason="the extra `find` is not installed")
pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE = 128
ROWS = COLS = (0, SIDE)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(6)
    made.bands = {}
    for band in BANDS:
        values = random.uniform(0.1, 0.9, (SIDE, SIDE)).astype(np.float32)
        values[:10, :10] = np.nan
        made.add(values, band, unit="reflectance")
        made.bands[band] = values
    return made


@pytest.mark.parametrize(("padded", "mask"), [(0, True), (0, False), (8, True)])
def test_a_prompt_decides_what_is_found(world, tmp_path, padded, mask):
    card = seeker(tmp_path / "card", padded=padded, mask=mask, told={"prompt": "the red"})
    run_world(pixel_job(world, card, tmp_path / "own", rows=ROWS, cols=COLS))
    assert np.array_equal(layer(tmp_path / "own", "found"), world.bands["red"], equal_nan=True)
    job = pixel_job(world, card, tmp_path / "both", rows=ROWS, cols=COLS, prompt="Blue and green", tile={"block": 64})
    report = run_world(job, workers=4).report
    both = world.bands["blue"] + world.bands["green"]
    assert np.allclose(layer(tmp_path / "both", "found"), both, equal_nan=True)
    assert report["exactness"] == "measured"
    again = pixel_job(world, card, tmp_path / "both", rows=ROWS, cols=COLS, prompt="Blue", tile={"block": 64})
    with pytest.raises(ValueError, match="--update"):
        run_world(again)
    assert run_job(again, RunOptions(update=True)).report["blocks_made"] == 4
    assert np.array_equal(layer(tmp_path / "both", "found"), world.bands["blue"], equal_nan=True)


@pytest.mark.parametrize("classes", [False, True])
def test_a_list_gives_a_layer_each(world, tmp_path, classes):
    card = seeker(tmp_path / "card", classes=classes)
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, prompt=[*BANDS, "The RED, blue"])
    report = run_world(job).report
    told = {**world.bands, "the_red_blue": world.bands["red"] + world.bands["blue"]}
    names = [each["name"] for each in report["layers"]]
    for name, values in told.items():
        if classes:
            expected = np.where(np.isnan(values), 255, values > 0.5)
            assert np.array_equal(layer(tmp_path / "out", f"{name}_class"), expected)
            assert f"{name}_confidence" in names
        else:
            assert np.allclose(layer(tmp_path / "out", name), values, equal_nan=True)
    assert len(names) == len(told) * (1 + classes)
    job = pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, prompt=[*BANDS, "The RED, blue"],
                    tile={"block": 64}, layers=names[:1])  # fmt: skip
    run_job(job, RunOptions(runner="dask", workers=2))
    assert np.array_equal(layer(tmp_path / "two", names[0]), layer(tmp_path / "out", names[0]), equal_nan=True)


def test_places_have_a_column_for_each_prompt(world, tmp_path):
    rows, cols = np.random.default_rng(3).integers(12, SIDE - 2, (2, 30)) + 0.5
    write_points(tmp_path / "p.parquet", rows, cols)
    card = seeker(tmp_path / "card")
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out", prompt=["red", "green blue"]))
    table = pq.read_table(tmp_path / "out/places.parquet")
    here = rows.astype(int), cols.astype(int)
    assert np.array_equal(table["red"].to_numpy(), world.bands["red"][here])
    both = world.bands["green"] + world.bands["blue"]
    assert np.allclose(table["green_blue"].to_numpy(), both[here])


def test_prompts_are_asked_over_flips_too(world, tmp_path):
    card = seeker(tmp_path / "card")
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, prompt=["red", "blue"], augment="flips")
    run_world(job)
    for band in ("red", "blue"):
        assert np.allclose(layer(tmp_path / "out", band), world.bands[band], equal_nan=True)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([], "prompt: small needs words to look for"),
        ("", r"prompt: it is ''"),
        ("a\nb", "prompt: it is"),
        ("red " * 1000, "prompt: it is"),
        (["red", "RED!"], "would both be called red"),
        (["red", "??"], "which no layer may"),
        (["red", "x"], "which no layer may"),
        (["red", "places"], "which no layer may"),
        (["red"] * 65, "at most 64"),
        ({"red": 1}, "prompt"),
    ],
)
def test_prompts_that_cannot_be_are_refused(world, tmp_path, prompt, said):
    card = seeker(tmp_path / "card")
    with pytest.raises(ValueError, match=said):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, prompt=prompt))
    assert not (tmp_path / "out").exists()


def test_a_prompt_longer_than_the_graph_is_refused(world, tmp_path):
    card = seeker(tmp_path / "card", padded=4)
    with pytest.raises(ValueError, match="takes 4: give fewer words"):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, prompt="red red red red"))


def test_other_cards_take_no_prompt(world, tmp_path):
    job = pixel_job(world, seeker(tmp_path / "card"), tmp_path / "out", rows=ROWS, cols=COLS, prompt="red")
    with pytest.raises(ValueError, match="takes no words"):
        run_world(job.model_copy(update={"model": "ndwi-water"}))


def changed(card, change):
    plain = json.loads((card / "card.json").read_text())
    change(plain["properties"], plain["assets"])
    (card / "card.json").write_text(json.dumps(plain))
    return card


def _generate(**told):
    return lambda properties, assets: properties["tw:generate"].update(told)


@pytest.mark.parametrize(("told", "said"), [({"end": "stop"}, "generate.end is 'stop'"), ({"start": 999}, "start is")])
def test_tokens_that_the_tokenizer_has_not_are_refused(world, tmp_path, told, said):
    card = changed(speaker(tmp_path / "card"), _generate(**told))
    with pytest.raises(ValueError, match=said):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"version": "1.0"}'])
def test_a_damaged_tokenizer_is_refused(world, tmp_path, content):
    card = speaker(tmp_path / "card")
    (card / "tokenizer.json").write_bytes(content)
    checksum = "1220" + hashlib.sha256(content).hexdigest()
    changed(card, lambda _, assets: assets["words"].update({"file:checksum": checksum}))
    with pytest.raises(ValueError, match=r"tokenizer\.json of small cannot be read"):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))


@pytest.mark.parametrize("asked", [{"augment": "flips"}, {"precision": "fp16"}, {"ensemble": ["ndwi-water"]}])
def test_what_words_have_not_is_refused(world, tmp_path, asked):
    card = speaker(tmp_path / "card")
    with pytest.raises(ValueError, match="words"):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **asked))


def _renamed(graph, **names):
    """A decoder whose inputs and outputs have other names."""
    model = onnx.load_model_from_string(graph)
    for port in (*model.graph.input, *model.graph.output):
        port.name = names.get(port.name, port.name)
    for node in model.graph.node:
        for list_of in (node.input, node.output):
            for number, name in enumerate(list_of):
                list_of[number] = names.get(name, name)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("decoder", lambda _: b"nothing", r"decoder\.onnx"),
        ("decoder", lambda graph: _renamed(graph, input_ids="ids"), "tw:generate.decoder takes ids"),
        ("then", lambda graph: _renamed(graph, input_ids="ids"), "tw:generate.decoder_with_past takes ids"),
        (
            "decoder", lambda graph: _renamed(graph, **{"present.0.encoder.key": "key"}),
            r"decoder_with_past takes past_key_values\.0\.encoder\.key, and the step before gives no",
        ),
        ("then", lambda graph: _renamed(graph, **{"present.0.decoder.key": "key"}), "with_past gives no present"),
    ],
)  # fmt: skip
def test_a_wrong_decoder_is_refused_before_pixels_are_read(world, tmp_path, file, change, said):
    card = pair(tmp_path / "card", "with past")
    content = change((card / f"{file}.onnx").read_bytes())
    (card / f"{file}.onnx").write_bytes(content)
    checksum = "1220" + hashlib.sha256(content).hexdigest()
    changed(card, lambda _, assets: assets[file].update({"file:checksum": checksum}))
    with pytest.raises(ValueError, match=said):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("made", [speaker, lambda folder: pair(folder, "with past"), seeker])
def test_a_card_of_words_is_checked(tmp_path, made):
    card = load_card(made(tmp_path / "card"))
    if made is seeker:
        with pytest.raises(CardError, match="needs words"):
            check_card(card)
        return
    report = check_card(card).to_json()
    assert any("caption" in str(run) for run in report["runs"])
