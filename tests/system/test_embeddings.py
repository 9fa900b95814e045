"""Embeddings are one layer: a vector for each window or pixel, in the store and as a table, the same in every cut."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import zarr

import tilewright as tw
from tests.support.embedders import BANDS, LENGTH, WEIGHTS, pixel_encoder, window_encoder
from tests.support.output_places import open_place
from tests.support.worlds import COL, ROW, World, layer, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.maintain.clean import clean_output
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Advance
from tilewright.tasks.tables.geoparquet import hilbert_places

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE, STEP = 256, 32
ROWS, COLS = (0, 224), (32, 256)
VECTOR = {"tw:embedding": {}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Bands of smooth ground and noise, a part of which nobody saw."""
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(5)
    ramp = np.linspace(0.05, 0.4, SIDE, dtype=np.float32)
    made.bands = []
    for number, band in enumerate(BANDS):
        ground = np.roll(ramp, 40 * number)[None, :] + ramp[::-1, None] * 0.2
        values = (ground + random.uniform(0, 0.05, (SIDE, SIDE))).astype(np.float32)
        values[64:128, 96:160] = np.nan
        made.add(values, band, unit="reflectance")
        made.bands.append(values)
    return made


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return window_encoder(tmp_path_factory.mktemp("card"), step=STEP)


def window_vectors(bands, rows=ROWS, cols=COLS):
    """The vector of each window of the box, (row, col, number); NaN where nothing was seen."""
    part = np.stack([each[slice(*rows), slice(*cols)] for each in bands])
    n, m = part.shape[1] // STEP, part.shape[2] // STEP
    means = part.reshape(3, n, STEP, m, STEP).mean(axis=(2, 4), dtype=np.float64)
    return np.moveaxis(np.tensordot(WEIGHTS.astype(np.float64), means, axes=1), 0, -1)


def pixel_vectors(bands, rows=ROWS, cols=COLS):
    part = np.stack([each[slice(*rows), slice(*cols)] for each in bands])
    return np.moveaxis(np.tensordot(WEIGHTS, part, axes=1), 0, -1)


def stored(output, name="vectors"):
    return np.asarray(zarr.open_group(Path(output) / "data.zarr", mode="r")[name])


def decoded(output, name="vectors"):
    """As the attributes of the array say, without Tilewright."""
    group = zarr.open_group(Path(output) / "data.zarr", mode="r")
    array, attributes = np.asarray(group[name]), dict(group[name].attrs)
    if "scales" not in attributes:
        return array.astype(np.float64)
    missing = (array == attributes["_FillValue"]).all(axis=-1)
    vectors = array * np.asarray(group[attributes["scales"]], dtype=np.float64)[..., None]
    vectors[missing] = np.nan
    return vectors


def test_windows_become_one_layer_and_a_table(world, card, tmp_path):
    output = tmp_path / "out"
    report = run_world(pixel_job(world, card, output, rows=ROWS, cols=COLS)).report
    expected = window_vectors(world.bands)
    seen = ~np.isnan(expected[..., 0])
    assert 0 < (~seen).sum() < seen.size
    np.testing.assert_allclose(stored(output), expected, rtol=2**-10, atol=2**-12)
    assert stored(output).dtype == np.float16
    assert not [*output.glob("*.tif"), *output.glob("*.qml")]
    found = geopandas.read_parquet(output / "vectors.parquet")
    assert found.id.tolist() == list(range(1, seen.sum() + 1))
    cols = np.rint(found.geometry.bounds.minx / 320 - (COL + COLS[0]) / STEP).astype(int)
    rows = np.rint(-found.geometry.bounds.maxy / 320 - (ROW + ROWS[0]) / STEP).astype(int)
    assert {*zip(rows, cols, strict=True)} == {*zip(*np.nonzero(seen), strict=True)}
    assert np.array_equal(np.stack(found.vector.to_numpy()), stored(output)[rows, cols])
    absolute = cols + (COL + COLS[0]) // STEP, rows + (ROW + ROWS[0]) // STEP
    assert (np.diff(hilbert_places(*(np.asarray(each) for each in absolute))) > 0).all()
    assert np.allclose(found.geometry.area, 320**2)
    assert shapely.is_ccw(shapely.get_exterior_ring(found.geometry.to_numpy())).all()
    kind = pq.read_schema(output / "vectors.parquet").field("vector").type
    assert (kind.list_size, str(kind.value_type)) == (LENGTH, "halffloat")
    bounds = json.loads(pq.read_schema(output / "vectors.parquet").metadata[b"geo"])["columns"]["geometry"]["bbox"]
    assert bounds == [*found.total_bounds]
    (told,) = report["embeddings"]
    assert (told["vectors"], told["of"], told["metric"]) == (seen.sum(), "windows", "cosine")
    assert report["tables"][0]["rows"] == len(found)
    assert report["layers"] == []
    # No map that windows could show in: what is told is whether a vector hangs on others.
    assert (report["exactness"], report["seams"]["windows"]) == ("proven", 0)
    assert "Exact: each window by itself" in (output / "report.html").read_text()
    assert tw.open(output)["vectors"].dims == ("y", "x", "vector")


@pytest.mark.parametrize("kind", ["window", "pixel"])
def test_what_is_said_of_it_is_what_others_read(world, tmp_path, kind):
    make = window_encoder if kind == "window" else pixel_encoder
    card = make(tmp_path / "card", told={"storage": "int8", "metric": "euclidean"})
    output = tmp_path / "out"
    run_world(pixel_job(world, card, output, rows=ROWS, cols=COLS))
    item = json.loads((output / "item.json").read_text())
    said = item["properties"]
    assert (said["emb:type"], said["emb:dimensions"], said["data_type"], said["tw:metric"]) == (
        "chip" if kind == "window" else "pixel", LENGTH, "int8", "euclidean",
    )  # fmt: skip
    assert ("emb:chip_layout" in said) == (kind == "window")
    assert said["emb:quantization"]["quantized_dtype"] == "int8"
    assert {"emb:model", "derived_from"} <= {link["rel"] for link in item["links"]}
    assert item["assets"]["vectors_array"]["href"] == "./data.zarr/vectors"
    assert ("vectors" in item["assets"]) == (kind == "window")
    collection = json.loads((output / "collection.json").read_text())
    assert collection["summaries"]["emb:dimensions"] == [LENGTH]
    attributes = dict(zarr.open_group(output / "data.zarr", mode="r").attrs)
    assert "geoemb:" in {each["name"] for each in attributes["zarr_conventions"]}
    # Source: the convention's schema.json at v1: what it requires, and what of a chip.
    assert {f"geoemb:{name}" for name in ("type", "dimensions", "model", "source_data", "data_type")} <= {*attributes}
    assert ("geoemb:chip_layout" in attributes) == (kind == "window")
    assert attributes["geoemb:quantization"]["scale"] == {
        "type": "array",
        "array_name": "vectors_scale",
        "nodata": "NaN",
    }
    assert str(tmp_path) not in json.dumps(attributes)
    page = (output / "report.html").read_text()
    assert "data.zarr/vectors" in page
    assert "vectors.tif" not in page


@pytest.mark.parametrize("storage", ["float16", "float32", "int8"])
def test_pixels_become_one_layer(world, tmp_path, storage):
    card = pixel_encoder(tmp_path / "card", told={"storage": storage})
    output = tmp_path / "out"
    run_world(pixel_job(world, card, output, rows=ROWS, cols=COLS, tile={"block": 64}))
    expected = pixel_vectors(world.bands)
    bound = {"float16": 2**-11, "float32": 2**-22, "int8": 0.5 / 127}[storage]
    largest = np.abs(expected).max(axis=-1, keepdims=True)
    found = decoded(output)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert (np.abs(found - expected) <= largest * (bound + 1e-6))[~np.isnan(found)].all()
    assert stored(output).dtype == storage
    assert {path.suffix for path in output.iterdir()} == {"", ".json", ".html", ".parquet", ".png", ".zarr"}
    assert not (output / "vectors.parquet").exists()


CUTS = {
    "blocks of 64": {"tile": {"block": 64}},
    "blocks of 128": {"tile": {"block": 128}},
    "blocks of 256": {"tile": {"block": 256}},
    "Zarr 2": {"zarr_format": 2},
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("workers", [1, 4])
def test_table_and_vectors_are_the_same_in_every_cut(world, tmp_path, name, workers):
    card = window_encoder(tmp_path / "card", step=STEP, told={"storage": "int8"})
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS))
    run_world(pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, **CUTS[name]), workers=workers)
    for part in ("vectors", "vectors_scale"):
        assert stored(tmp_path / "one", part).tobytes() == stored(tmp_path / "two", part).tobytes()
    one, two = ((tmp_path / each / "vectors.parquet").read_bytes() for each in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("name", CUTS)
def test_pixels_are_the_same_in_every_cut(world, tmp_path, name):
    card = pixel_encoder(tmp_path / "card")
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS))
    run_world(pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, **CUTS[name]), workers=2)
    assert stored(tmp_path / "one").tobytes() == stored(tmp_path / "two").tobytes()


def test_blended_windows_give_the_same_vectors_in_every_cut(world, tmp_path):
    card = pixel_encoder(tmp_path / "card", tile={"step": 64, "trim": 16, "merge": "blend"})
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS))
    run_world(pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, tile={"block": 64}), workers=2)
    assert stored(tmp_path / "one").tobytes() == stored(tmp_path / "two").tobytes()
    np.testing.assert_allclose(stored(tmp_path / "one"), pixel_vectors(world.bands), rtol=2**-10, atol=2**-12)


def test_vectors_of_patches_lie_on_a_coarser_grid(world, tmp_path):
    card = pixel_encoder(tmp_path / "card", patch=8, told={"storage": "float32"})
    run_world(pixel_job(world, card, tmp_path / "out", rows=(0, 64), cols=(0, 96), tile={"block": 64}))
    expected = pixel_vectors(world.bands, (0, 64), (0, 96)).reshape(8, 8, 12, 8, LENGTH).mean(axis=(1, 3))
    np.testing.assert_allclose(stored(tmp_path / "out"), expected, rtol=1e-4, atol=1e-6)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["embeddings"][0]["shape"] == [8, 12, LENGTH]
    assert report["grid"]["resolution"] == 80
    query = stored(tmp_path / "out")[3, 5]
    (found,) = tw.find(tmp_path / "out", vector=query, k=1).column("geometry").to_pylist()
    left, _, _, top = shapely.from_wkb(found).bounds
    assert (left / 10 - COL, -top / 10 - ROW) == (40, 24)


def test_another_area_has_the_same_vectors_where_both_are(world, card, tmp_path):
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS))
    run_world(pixel_job(world, card, tmp_path / "two", rows=(64, 224), cols=(96, 256)))
    assert stored(tmp_path / "two").tobytes() == np.ascontiguousarray(stored(tmp_path / "one")[2:, 2:]).tobytes()


def test_beside_a_map_of_the_same_windows_both_are_there(world, tmp_path):
    from onnx import TensorProto

    from tests.support.graphs import Draft
    from tests.support.worlds import write_card

    draft = Draft()
    mean = draft.node("ReduceMean", "x", axes=[2, 3], keepdims=0)
    result = draft.node("MatMul", mean, draft.constant(WEIGHTS.T.copy()))
    outputs = [(result, "y", TensorProto.FLOAT, ["batch", LENGTH]), (mean, "m", TensorProto.FLOAT, ["batch", 3])]
    card = write_card(
        tmp_path / "card",
        draft.model_many([("x", TensorProto.FLOAT, ["batch", 3, "h", "w"])], outputs),
        inputs=[{"name": "x", "bands": list(BANDS)}],
        outputs=[
            {"name": "y", "dims": ["batch", "channel"], "tasks": ["similarity-search"], "tw:layers": ["v"], **VECTOR},
            {"name": "m", "dims": ["batch", "channel"], "tw:layers": ["b", "g", "r"]},
        ],
        tile={"step": STEP},
    )
    report = run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS)).report
    assert [each["name"] for each in report["layers"]] == ["b", "g", "r"]
    np.testing.assert_allclose(stored(tmp_path / "out", "v")[..., 0], layer(tmp_path / "out", "b"), rtol=2**-10)
    run_world(pixel_job(world, card, tmp_path / "part", rows=ROWS, cols=COLS, layers=["b"]))
    assert not (tmp_path / "part/v.parquet").exists()
    assert "embeddings" not in json.loads((tmp_path / "part/report.json").read_text())


def test_an_update_keeps_blocks_and_a_rerun_finds_the_same(world, tmp_path):
    card = window_encoder(tmp_path / "card", step=STEP, told={"storage": "int8"})
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, tile={"block": 64})
    run_world(job)
    content, vectors = (tmp_path / "out/vectors.parquet").read_bytes(), stored(tmp_path / "out").tobytes()
    for name in ("item.json", "vectors.parquet"):
        (tmp_path / "out" / name).unlink()
    assert run_world(job).report["blocks_made"] == 0
    assert (tmp_path / "out/vectors.parquet").read_bytes() == content
    chunk = min(path for path in (tmp_path / "out/data.zarr/vectors/c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-9] + b"\1" * 9)
    (tmp_path / "out/item.json").unlink()
    assert run_world(job).report["blocks_made"] >= 1
    assert stored(tmp_path / "out").tobytes() == vectors
    assert (tmp_path / "out/vectors.parquet").read_bytes() == content
    again = rerun_item(str(tmp_path / "out/item.json"), output=str(tmp_path / "again"))
    assert again["identical"], again
    assert again["layers"] == {"vectors": True}
    assert product_status(str(tmp_path / "out"))["state"] == "complete"


def test_the_same_on_a_cluster(world, card, tmp_path):
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS, tile={"block": 64}))
    job = pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, tile={"block": 64})
    run_job(job, RunOptions(runner="dask", workers=2))
    one, two = ((tmp_path / each / "vectors.parquet").read_bytes() for each in ("one", "two"))
    assert one == two
    assert stored(tmp_path / "one").tobytes() == stored(tmp_path / "two").tobytes()


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_run_broken_off_ends_as_the_whole_one(world, card, tmp_path, request, kind):
    monkeypatch, moto = (request.getfixturevalue(name) for name in ("monkeypatch", "moto"))
    storage = open_place(kind, tmp_path, monkeypatch, moto)
    run_world(pixel_job(world, card, tmp_path / "one", rows=ROWS, cols=COLS, tile={"block": 64}))
    one = (tmp_path / "one/vectors.parquet").read_bytes()
    job = pixel_job(world, card, tmp_path / "two", rows=ROWS, cols=COLS, tile={"block": 64})
    job = job.model_copy(update={"output": storage.uri})
    n_blocks = []

    def breaking(event):
        n_blocks.append(isinstance(event, Advance) and bool(event.block))
        if sum(n_blocks) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job, RunOptions(workers=1), listener=breaking)
    clean_output(storage.uri)
    report = run_job(job, RunOptions(workers=2)).report
    assert 0 < report["blocks_made"] < report["blocks"]
    assert storage.read("vectors.parquet") == one
    near = tw.find(storage.uri, vector=np.ones(LENGTH), k=3)
    assert near == tw.find(tmp_path / "one", vector=np.ones(LENGTH), k=3)


def test_what_a_type_cannot_hold_is_no_vector_and_is_said(world, tmp_path):
    card = window_encoder(tmp_path / "card", step=STEP, size=200_000)
    report = run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS)).report
    expected = np.abs(window_vectors(world.bands) * 200_000).max(axis=-1)
    there = expected < 65_520
    assert 0 < there.sum() < np.isfinite(expected).sum()
    assert np.array_equal(~np.isnan(stored(tmp_path / "out")).any(axis=-1), there)
    assert report["embeddings"][0]["vectors"] == there.sum()
    assert "observed windows have no vector" in report["warnings"][0]


def test_another_card_leaves_nothing_of_the_former(world, card, tmp_path):
    job = pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS)
    run_world(job)
    other = window_encoder(tmp_path / "card", step=STEP, name="others")
    run_job(pixel_job(world, other, tmp_path / "out", rows=ROWS, cols=COLS), RunOptions(workers=1, replace=True))
    assert [str(path) for path in (tmp_path / "out").rglob("*vectors*")] == []
    assert (tmp_path / "out/others.parquet").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": ["vectors_scale"]}, "layers: vectors_scale not given by small"),
        ({"polygons": "vectors"}, "polygons: the layer vectors holds values"),
        ({"augment": {"kind": "flips", "spread": True}}, "augment.spread: small gives vectors"),
        ({"ensemble": "twice"}, "ensemble: small gives vectors"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_what_vectors_cannot_be_is_refused(world, tmp_path, changes, words):
    card = window_encoder(tmp_path / "card", step=STEP, told={"storage": "int8"})
    if changes.pop("ensemble", ""):
        changes = {"ensemble": [str(card)]}
    with pytest.raises(ValueError, match=words):
        run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS, **changes))
    assert not (tmp_path / "out").exists()
