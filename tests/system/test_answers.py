"""Answers in words: a table of what is said of each window, the same however the work is cut, and checked by field."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from tests.support.places_cards import places_job, window_of, write_points
from tests.support.speakers import DECODERS, answer, pair, speaker
from tests.support.worlds import COL, ROW, World, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions

pytest.importorskip("tokenizers", reason="the extra `find` is not installed")
pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE, STEP = 160, 16
ROWS = COLS = (0, SIDE)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(4)
    tenths = random.integers(0, 11, (SIDE // STEP, SIDE // STEP)) / 10 + 0.04
    values = tenths.repeat(STEP, axis=0).repeat(STEP, axis=1).astype(np.float32)
    values[:16, :32] = np.nan
    made.add(values, "red", unit="reflectance")
    made.values = values
    return made


def said(output: Path | str, name: str = "caption") -> dict[tuple[int, int], str]:
    """The answers by the row and column of their window."""
    table = pq.read_table(Path(output) / f"{name}.parquet")
    bounds = shapely.bounds(shapely.from_wkb(table.column("geometry").to_pylist()))
    assert table.column("id").to_pylist() == list(range(1, table.num_rows + 1))
    assert (np.abs(bounds[:, 2:] - bounds[:, :2] - STEP * 10) < 1e-6).all()
    rows = np.rint(-bounds[:, 3] / 10 - ROW).astype(int) // STEP
    cols = np.rint(bounds[:, 0] / 10 - COL).astype(int) // STEP
    return dict(zip(zip(rows.tolist(), cols.tolist(), strict=True), table.column("text").to_pylist(), strict=True))


def expected(world) -> dict[tuple[int, int], str]:
    means = world.values.reshape(SIDE // STEP, STEP, SIDE // STEP, STEP).mean(axis=(1, 3))
    return {
        (row, col): answer(float(means[row, col]))
        for row, col in np.ndindex(means.shape)
        if np.isfinite(means[row, col])
    }


def test_a_window_is_named_as_its_mean_says(world, tmp_path):
    report = run_world(pixel_job(world, speaker(tmp_path / "card", step=STEP), tmp_path / "out", rows=ROWS, cols=COLS))
    assert said(tmp_path / "out") == expected(world)
    (table,) = report.report["tables"]
    assert (table["name"], table["rows"]) == ("caption", len(expected(world)))
    item = json.loads((tmp_path / "out/item.json").read_text())
    assert item["assets"]["caption"]["type"] == "application/vnd.apache.parquet"
    assert report.report["exactness"] == "no"
    assert "three" in (tmp_path / "out/report.html").read_text()


def table_bytes(output: Path | str) -> bytes:
    return (Path(output) / "caption.parquet").read_bytes()


def test_no_cut_changes_the_table(world, tmp_path):
    card = speaker(tmp_path / "card", step=STEP)
    whole = run_world(pixel_job(world, card, tmp_path / "whole", rows=ROWS, cols=COLS, tile={"block": 128}))
    for block, workers in ((64, 1), (64, 4), (128, 4)):
        out = tmp_path / f"{block}-{workers}"
        run_world(pixel_job(world, card, out, rows=ROWS, cols=COLS, tile={"block": block}), workers=workers)
        assert table_bytes(out) == table_bytes(whole.output)
    run_job(pixel_job(world, card, tmp_path / "dask", rows=ROWS, cols=COLS), RunOptions(runner="dask", workers=2))
    assert table_bytes(tmp_path / "dask") == table_bytes(whole.output)
    # An area of its own says the same of the windows that it has.
    run_world(pixel_job(world, card, tmp_path / "part", rows=(24, 90), cols=(40, 104)))
    part = said(tmp_path / "part")
    assert part == {place: text for place, text in expected(world).items() if 1 <= place[0] <= 5 and 2 <= place[1] <= 6}


def test_a_run_broken_off_goes_on(world, tmp_path):
    card, out = speaker(tmp_path / "card", step=STEP), tmp_path / "out"
    job = pixel_job(world, card, out, rows=ROWS, cols=COLS, tile={"block": 64})
    first = run_world(job)
    content = table_bytes(out)
    (out / "item.json").unlink()
    assert run_world(job).report["blocks_made"] == 0
    assert table_bytes(out) == content
    (out / "item.json").unlink()
    (out / "caption.parquet").unlink()
    parts = sorted((out / ".tilewright/boxes/caption").iterdir())
    parts[0].write_bytes(parts[0].read_bytes().replace(b"one", b"two"))
    again = run_world(job)
    assert 0 < again.report["blocks_made"] < first.report["blocks"]
    assert table_bytes(out) == content


def test_another_prompt_is_another_product(world, tmp_path):
    card, out = speaker(tmp_path / "card", step=STEP), tmp_path / "out"
    run_world(pixel_job(world, card, out, rows=ROWS, cols=COLS))
    # What follows "three" is the rest of the count.
    job = pixel_job(world, card, out, rows=ROWS, cols=COLS, prompt="count one two three")
    with pytest.raises(ValueError, match="--update"):
        run_world(job)
    run_job(job, RunOptions(update=True))
    assert said(out) == {place: " ".join(text.split()[3:]) for place, text in expected(world).items()}
    job = pixel_job(world, card, out, rows=ROWS, cols=COLS, prompt=["count", "count one"])
    run_job(job, RunOptions(update=True))
    assert not (out / "caption.parquet").exists()
    assert not list((out / ".tilewright/boxes").glob("caption/*"))
    assert said(out, "count_one") == {place: " ".join(text.split()[1:]) for place, text in expected(world).items()}


def test_prompts_make_a_table_each(world, tmp_path):
    card, out = speaker(tmp_path / "card", step=STEP), tmp_path / "out"
    prompts = ["count", "count: one TWO!"]
    report = run_world(pixel_job(world, card, out, rows=ROWS, cols=COLS, prompt=prompts)).report
    assert {each["name"] for each in report["tables"]} == {"count", "count_one_two"}
    assert said(out, "count") == expected(world)
    # "!" is no word of the tokenizer: a token that is no number, after which it counts from one.
    assert said(out, "count_one_two") == expected(world)
    assert not (out / "caption.parquet").exists()


@pytest.mark.parametrize(
    ("told", "most"),
    [
        ({"max_tokens": 4}, 4),
        ({"end": ["five", 2]}, 4),
        ({"end": 2}, 12),
        ({"prompt": None}, 12),
        ({"num_beams": 3}, 12),
    ],
)
def test_an_answer_ends_where_the_card_says(world, tmp_path, told, most):
    usual = {"tokenizer": "words", "prompt": "count", "max_tokens": 12, "end": "."}
    card = speaker(tmp_path / "card", step=STEP, told={**usual, **told}, mask="prompt" in told)
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    assert said(tmp_path / "out") == {place: " ".join(text.split()[:most]) for place, text in expected(world).items()}


@pytest.mark.parametrize("kind", DECODERS)
def test_encoder_and_decoder_say_the_same_with_and_without_a_cache(world, tmp_path, kind):
    card = pair(tmp_path / "card", kind, step=STEP)
    report = run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64}), workers=4)
    assert said(tmp_path / "out") == expected(world)
    assert report.report["tables"][0]["rows"] == len(expected(world))


def test_places_have_a_column_of_what_is_said(world, tmp_path):
    random = np.random.default_rng(8)
    rows, cols = random.uniform(-20, SIDE + 20, (2, 60))
    write_points(tmp_path / "p.parquet", rows, cols, name=[f"p{number}" for number in range(60)])
    card = speaker(tmp_path / "card", step=STEP)
    report = run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "out")).report
    table = pq.read_table(tmp_path / "out/places.parquet")
    assert table.column_names[:3] == ["id", "name", "caption"]
    for row, col, text, seen in zip(rows, cols, *(table[name].to_pylist() for name in ("caption", "observed")),
                                    strict=True):  # fmt: skip
        window = window_of(world.values, row, col, window=STEP)
        if seen == 1:
            assert text == answer(float(window.mean()))
        assert (text is None) == (seen == 0)
    (told,) = report["places"]["layers"]
    assert (told["name"], told["kind"]) == ("caption", "text")
    assert told["places"] == sum(text is not None for text in table["caption"].to_pylist())
    assert not (tmp_path / "out/places.qml").exists()
    content = (tmp_path / "out/places.parquet").read_bytes()
    (tmp_path / "out/item.json").unlink()
    job = places_job(world, card, tmp_path / "p.parquet", tmp_path / "out")
    assert run_job(job, RunOptions(workers=4)).report["blocks_made"] == 0
    job = places_job(world, card, tmp_path / "p.parquet", tmp_path / "many", prompt=["count", "count one"])
    run_job(job, RunOptions(workers=4))
    many = pq.read_table(tmp_path / "many/places.parquet")
    assert many["count"].to_pylist() == table["caption"].to_pylist()
    assert many["count_one"].to_pylist() == [
        text and " ".join(text.split()[1:]) for text in table["caption"].to_pylist()
    ]
    run_job(places_job(world, card, tmp_path / "p.parquet", tmp_path / "again"))
    assert (tmp_path / "again/places.parquet").read_bytes() == content


@pytest.mark.parametrize("kind", ["with past", "merged"])
def test_openvino_says_the_same_or_that_it_cannot(world, tmp_path, kind):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    job = pixel_job(world, pair(tmp_path / "card", kind), tmp_path / "out", rows=ROWS, cols=COLS, provider="openvino")
    if kind == "merged":
        with pytest.raises(ValueError, match="OpenVINO does not run the merged decoder"):
            run_world(job)
        return
    run_world(job)
    assert said(tmp_path / "out") == expected(world)
