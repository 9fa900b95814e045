"""`find` gives the windows and pixels whose vectors are most alike: those that numpy finds by comparing all."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
import zarr
from typer.testing import CliRunner

import tilewright as tw
from tests.support.embedders import BANDS, LENGTH, pixel_encoder, window_encoder
from tests.support.worlds import COL, CRS, ROW, World, pixel_job
from tests.support.worlds import run as run_world
from tilewright.flows.ask.find import find_alike
from tilewright.flows.cli.main import app
from tilewright.tasks.cog.write import file_multihash
from tilewright.tasks.tables.vector_file import read_geometry_table

pytestmark = pytest.mark.usefixtures("small_pictures")
SIDE, STEP = 192, 16
ROWS = COLS = (0, SIDE)
LONLAT = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    random = np.random.default_rng(11)
    for band in BANDS:
        values = random.uniform(0.05, 0.5, (SIDE, SIDE)).astype(np.float32)
        # Two fields of the same ground: their windows are all alike.
        values[:64, :64] = values[128:, 96:160] = 0.25
        values[64:96, 0:32] = np.nan
        made.add(values, band, unit="reflectance")
    return made


@pytest.fixture(scope="module")
def products(world, tmp_path_factory):
    """Finished products by (kind, metric, storage), each made once."""
    made: dict[tuple[str, str, str], str] = {}

    def product(kind="window", metric="cosine", storage="float16"):
        key = kind, metric, storage
        if key not in made:
            folder = tmp_path_factory.mktemp("product")
            told = {"metric": metric, "storage": storage}
            card = (
                window_encoder(folder / "card", step=STEP, told=told)
                if kind == "window"
                else pixel_encoder(folder / "card", told=told)
            )
            run_world(pixel_job(world, card, folder / "out", rows=ROWS, cols=COLS))
            made[key] = str(folder / "out")
        return made[key]

    return product


def vectors_of(output):
    """(row, col, number) float64, as the store says."""
    group = zarr.open_group(f"{output}/data.zarr", mode="r")
    array = np.asarray(group["vectors"])
    if array.dtype == np.int8:
        missing = (array == -128).all(axis=-1)
        vectors = (array.astype(np.float32) * np.asarray(group["vectors_scale"])[..., None]).astype(np.float64)
        vectors[missing] = np.nan
        return vectors
    return array.astype(np.float64)


def brute_force(vectors, query, metric, k, inside=None):
    """(row, col, score) of the best, by comparing all."""
    rows, cols = np.nonzero(~np.isnan(vectors[..., 0]) & (True if inside is None else inside))
    found = vectors[rows, cols]
    if metric == "euclidean":
        scores = -np.linalg.norm(found - query, axis=1)
    else:
        scores = found @ query
        if metric == "cosine":
            scores = scores / (np.linalg.norm(found, axis=1) * np.linalg.norm(query))
    order = np.lexsort([cols, rows, -np.round(scores, 10)])[:k]
    return [(int(rows[each]), int(cols[each]), float(scores[each])) for each in order]


def place(row, col, step=STEP):
    """The longitude and latitude of the centre of a window or pixel."""
    x, y = (COL + (col + 0.5) * step) * 10, -(ROW + (row + 0.5) * step) * 10
    return tuple(float(each) for each in LONLAT.transform(x, y))


def places_of(table, step=STEP):
    """(row, col) of rows found."""
    shapes = shapely.from_wkb(table.column("geometry").to_numpy(zero_copy_only=False))
    x, y = (np.array([getattr(each.centroid, axis) for each in shapes]) for axis in ("x", "y"))
    rows, cols = np.floor(-y / 10 / step - ROW / step), np.floor(x / 10 / step - COL / step)
    return [*zip(rows.astype(int).tolist(), cols.astype(int).tolist(), strict=True)]


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize(("kind", "storage"), [("window", "float16"), ("window", "int8"), ("pixel", "float32")])
def test_the_best_are_those_of_comparing_all(products, kind, metric, storage):
    output, step = products(kind, metric, storage), STEP if kind == "window" else 1
    vectors = vectors_of(output)
    for row, col in [(3, 2), (11, 11), (9, 7)]:
        found = tw.find(output, like=place(row, col, step), k=25)
        wanted = brute_force(vectors, vectors[row, col], metric, 25)
        assert places_of(found, step) == [each[:2] for each in wanted]
        assert found["score"].to_pylist() == pytest.approx([each[2] for each in wanted], rel=1e-6, abs=1e-9)
    query = np.random.default_rng(3).normal(size=LENGTH)
    found = tw.find(output, vector=query, k=7)
    wanted = brute_force(vectors, query.astype(np.float32).astype(np.float64), metric, 7)
    assert places_of(found, step) == [each[:2] for each in wanted]


def test_equal_vectors_come_from_north_to_south_then_west_to_east(products):
    found = tw.find(products(), like=place(9, 7), k=40)
    same = [(row, col) for row in range(4) for col in range(4)] + [
        (row, col) for row in range(8, 12) for col in range(6, 10)
    ]
    assert places_of(found)[:32] == sorted(same)
    assert found["score"].to_pylist()[:32] == pytest.approx([1.0] * 32)
    assert found["rank"].to_pylist() == list(range(1, 41))


@pytest.mark.parametrize("kind", ["window", "pixel"])
def test_neighbours_are_the_same_in_every_cut(world, products, tmp_path, kind):
    make = window_encoder if kind == "window" else pixel_encoder
    card = make(tmp_path / "card", **({"step": STEP} if kind == "window" else {}))
    wanted = tw.find(products(kind), like=place(5, 5, STEP if kind == "window" else 1), k=50)
    for block in (64, 128, 256):
        output = tmp_path / f"out{block}"
        run_world(pixel_job(world, card, output, rows=ROWS, cols=COLS, tile={"block": block}))
        assert tw.find(output, like=place(5, 5, STEP if kind == "window" else 1), k=50) == wanted


@pytest.mark.parametrize("kind", ["window", "pixel"])
def test_within_counts_centres(products, kind):
    output, step = products(kind), STEP if kind == "window" else 1
    vectors = vectors_of(output)
    n = len(vectors)
    low, high = n // 4, n // 2
    corners = [place(row - 0.25, col - 0.25, step) for row, col in [(low, low), (low, high), (high, high), (high, low)]]
    area = shapely.Polygon(corners)
    inside = np.zeros(vectors.shape[:2], dtype=bool)
    inside[low:high, low:high] = True
    found = find_alike(output, like=place(n - 1, n - 1, step), k=10_000, within=json.loads(shapely.to_geojson(area)))
    wanted = brute_force(vectors, vectors[n - 1, n - 1], "cosine", 10_000, inside)
    assert found.compared == len(wanted)
    assert found.table.columns["score"].to_pylist() == pytest.approx([each[2] for each in wanted], abs=1e-9)
    same = find_alike(
        output, like=place(n - 1, n - 1, step), k=10_000, within=shapely.to_wkt(area, rounding_precision=12)
    )
    assert same.table.columns == found.table.columns


def test_the_command_prints_rows_and_writes_them(products, tmp_path):
    lon, lat = place(4, 6)
    asked = ["find", products(), "--like", f"{lon},{lat}", "-k", "5"]
    told = CliRunner().invoke(app, [*asked, "--to", str(tmp_path / "rows.geojson"), "--json"])
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert (document["exact"], document["metric"], len(document["rows"])) == (True, "cosine", 5)
    first = document["rows"][0]
    assert (first["rank"], first["score"], round(first["lon"], 5), round(first["lat"], 5)) == (
        1, 1.0, round(lon, 5), round(lat, 5),
    )  # fmt: skip
    assert len(read_geometry_table(tmp_path / "rows.geojson").geometries) == 5
    words = CliRunner().invoke(app, asked)
    assert "all compared by cosine" in words.stdout
    np.save(tmp_path / "query.npy", vectors_of(products())[4, 6])
    by_file = CliRunner().invoke(app, ["find", products(), "--vector", str(tmp_path / "query.npy"), "-k", "5"])
    assert by_file.stdout == words.stdout


def test_an_index_finds_most_and_says_how_many(products, tmp_path):
    pytest.importorskip("faiss")
    output, path = products("pixel", "cosine", "float16"), tmp_path / "pixels.index"
    exact = find_alike(output, like=place(100, 20, 1), k=10)
    nearly = find_alike(output, like=place(100, 20, 1), k=10, index=path)
    assert nearly.recall >= 0.95
    assert nearly.compared is None
    assert nearly.table.columns["score"][0] == exact.table.columns["score"][0]
    assert len({*places_of_found(nearly)} & {*places_of_found(exact)}) >= 7
    before = path.stat().st_mtime_ns
    assert find_alike(output, like=place(100, 20, 1), k=10, index=path).to_json() == nearly.to_json()
    assert path.stat().st_mtime_ns == before
    other = find_alike(products("window"), like=place(4, 6), k=3, index=path)
    assert other.recall >= 0.95
    assert path.stat().st_mtime_ns != before
    content = path.read_bytes()
    path.write_bytes(bytes(1000) + content[1000:])
    with pytest.raises(ValueError, match="cannot be read"):
        find_alike(products("window"), like=place(4, 6), k=3, index=path)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is no whole index of find"):
        find_alike(output, like=place(100, 20, 1), index=tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_index_of_many_pieces_is_that_of_one(products, tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    output = products("pixel", "cosine", "float16")
    asked = {"like": place(100, 20, 1), "k": 20}
    monkeypatch.setattr("tilewright.tasks.embeddings.stored_vectors.NUMBERS_AT_ONCE", 2**11)
    whole = find_alike(output, **asked, index=tmp_path / "whole")
    monkeypatch.setattr("tilewright.tasks.embeddings.index.PIECE_BYTES", 2 * LENGTH * 1000)
    assert find_alike(output, **asked, index=tmp_path / "parts").to_json() == whole.to_json()
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]


def _resealed(told):
    def change(content):
        length = int.from_bytes(content[-24:-16], "little")
        facts = json.loads(content[-24 - length : -24])
        new = told if isinstance(told, bytes) else json.dumps({**facts, **told}).encode()
        return content[: -24 - length] + new + len(new).to_bytes(8, "little") + content[-16:]

    return change


NO_INDEX = r"is there and is no whole index of find: remove it if it was one"
INDEX_FILES = {
    "nothing": (lambda content: b"", NO_INDEX),
    "the seal alone": (lambda content: content[-16:], NO_INDEX),
    "an end cut off": (lambda content: content[:-5000], NO_INDEX),
    "a byte cut off": (lambda content: content[:-1], NO_INDEX),
    "a byte more": (lambda content: content + b"x", NO_INDEX),
    "facts longer than the file": (lambda content: content[:-24] + b"\xff" * 8 + content[-16:], NO_INDEX),
    "facts of no length": (lambda content: content[:-24] + bytes(8) + content[-16:], NO_INDEX),
    "facts that are none": (_resealed(b"["), NO_INDEX),
    "facts that are nested": (_resealed(b"[" * 4000), NO_INDEX),
    "facts of another kind": (_resealed(b"5"), NO_INDEX),
    "facts too many": (_resealed({"more": 1}), NO_INDEX),
    "a beginning cut off": (lambda content: content[5000:], None),
    "another version": (_resealed({"format": 2}), None),
    "no lists to look into": (_resealed({"probes": 0}), None),
    "a share of nothing": (_resealed({"recall": float("nan")}), None),
    "another product's facts": (_resealed({"key": "0" * 64}), None),
}


@pytest.mark.parametrize("case", INDEX_FILES)
def test_an_index_that_is_not_whole_is_made_anew_or_refused(products, tmp_path, case):
    pytest.importorskip("faiss")
    change, words = INDEX_FILES[case]
    output, path = products("pixel", "cosine", "float16"), tmp_path / "pixels"
    whole = find_alike(output, like=place(100, 20, 1), k=5, index=path).to_json()
    kept = path.read_bytes()
    path.write_bytes(change(kept))
    if words is None:
        assert find_alike(output, like=place(100, 20, 1), k=5, index=path).to_json() == whole
        assert path.read_bytes() == kept
    else:
        with pytest.raises(ValueError, match=words):
            find_alike(output, like=place(100, 20, 1), k=5, index=path)
        assert path.read_bytes() == change(kept)


def test_an_index_of_another_product_is_never_taken_for_its_own(world, products, tmp_path):
    """Both have as many vectors, so that their files are of one size; whatever is moved, or killed, between them."""
    pytest.importorskip("faiss")
    output = products("pixel", "cosine", "float16")
    card = pixel_encoder(tmp_path / "card", told={"metric": "cosine", "storage": "float16"})
    other = World(tmp_path / "other")
    other.files = [{**each, "href": world.files[(number + 1) % 3]["href"]} for number, each in enumerate(world.files)]
    run_world(pixel_job(other, card, tmp_path / "out", rows=ROWS, cols=COLS))
    asked = {"like": place(100, 20, 1), "k": 5}
    mine = find_alike(output, **asked, index=tmp_path / "mine").to_json()
    find_alike(str(tmp_path / "out"), **asked, index=tmp_path / "theirs")
    # But for a digit of their recall.
    assert (tmp_path / "mine").stat().st_size == pytest.approx((tmp_path / "theirs").stat().st_size, abs=20)
    shutil.copyfile(tmp_path / "theirs", tmp_path / "mine")
    assert find_alike(output, **asked, index=tmp_path / "mine").to_json() == mine


def places_of_found(found):
    return [(row["lon"], row["lat"]) for row in found.to_json()["rows"]]


OUTSIDE, UNSEEN = place(-3, 0), place(4, 1)

REFUSED = {
    "nothing asked": ({}, "Say what to look for"),
    "two asked": ({"like": place(1, 1), "vector": np.ones(LENGTH)}, "Say what to look for"),
    "outside": ({"like": OUTSIDE}, "lies outside the product"),
    "swapped": ({"like": place(4, 6)[::-1]}, "Longitude comes first"),
    "never seen": ({"like": UNSEEN}, "has no vector: nothing was seen there"),
    "off the globe": ({"like": (200.0, 10.0)}, "longitudes are -180 to 180"),
    "not a place": ({"like": "here"}, "its longitude and latitude"),
    "NaN place": ({"like": (float("nan"), 1.0)}, "longitudes are -180 to 180"),
    "too short": ({"vector": np.ones(LENGTH - 1)}, f"those of the product are of {LENGTH}"),
    "a matrix": ({"vector": np.ones((2, LENGTH))}, f"those of the product are of {LENGTH}"),
    "words": ({"vector": np.array(["a"] * LENGTH)}, f"those of the product are of {LENGTH}"),
    "NaN": ({"vector": np.full(LENGTH, np.nan)}, "not finite"),
    "too large": ({"vector": np.full(LENGTH, 1e300)}, "not finite"),
    "zeros": ({"vector": np.zeros(LENGTH)}, "all zeros"),
    "none": ({"vector": np.ones(LENGTH), "k": 0}, "-k is 0"),
    "too many": ({"vector": np.ones(LENGTH), "k": 10**9}, "-k is 1000000000"),
    "half": ({"vector": np.ones(LENGTH), "k": 2.5}, "-k is 2.5"),
    "empty area": ({"vector": np.ones(LENGTH), "within": "1,1,2,2"}, "holds the centre of no window"),
    "no area": ({"vector": np.ones(LENGTH), "within": "nowhere.geojson"}, "--within: "),
    "index within": ({"vector": np.ones(LENGTH), "within": "1,1,2,2", "index": "i"}, "leave --within or --index out"),
    "index nowhere": ({"vector": np.ones(LENGTH), "index": "/nowhere/index"}, "is no folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_found_is_refused(products, name):
    asked, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        tw.find(products(), **asked)


def test_a_product_without_vectors_or_none_is_refused(world, products, tmp_path):
    with pytest.raises(ValueError, match="holds no finished product"):
        tw.find(tmp_path / "nothing", like=place(1, 1))
    card = window_encoder(tmp_path / "card", step=STEP)
    plain = json.loads((card / "card.json").read_text())
    output = plain["properties"]["mlm:output"][0]
    del output["tw:embedding"]
    output["tw:layers"] = [f"e{number}" for number in range(LENGTH)]
    (card / "card.json").write_text(json.dumps(plain))
    run_world(pixel_job(world, card, tmp_path / "out", rows=ROWS, cols=COLS))
    with pytest.raises(ValueError, match="has no embedding"):
        tw.find(tmp_path / "out", like=place(1, 1))
    for content in (b"", b"\x93NUMPY", b"x" * 2_000_000):
        (tmp_path / "bad.npy").write_bytes(content)
        with pytest.raises(ValueError, match="vector"):
            tw.find(products(), vector=tmp_path / "bad.npy")
    np.save(tmp_path / "objects.npy", np.array([{}] * LENGTH), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read as a vector"):
        tw.find(products(), vector=tmp_path / "objects.npy")


def hostile_report(folder, **changes):
    plain = json.loads((folder / "report.json").read_text())
    plain["embeddings"] = [{**plain["embeddings"][0], **changes}]
    (folder / "report.json").write_text(json.dumps(plain))


HOSTILE = {
    "a name that leads out": (lambda folder: hostile_report(folder, name="../.."), "has no embedding"),
    "a name with NUL": (lambda folder: hostile_report(folder, name="a\0b"), "has no embedding"),
    "another layer": (lambda folder: hostile_report(folder, name="observations"), "is not as its report says"),
    "another type": (lambda folder: hostile_report(folder, storage="int8"), "vectors_scale"),
    "another metric": (lambda folder: hostile_report(folder, metric=["cosine"]), "has no embedding"),
    "no list": (lambda folder: (folder / "report.json").write_text('{"embeddings": {"0": 1}}'), "has no embedding"),
    "no report": (lambda folder: (folder / "report.json").unlink(), "has no embedding"),
    "no array": (lambda folder: shutil.rmtree(folder / "data.zarr/vectors"), "cannot be read"),
    "a damaged array": (
        lambda folder: (folder / "data.zarr/vectors/zarr.json").write_text('{"zarr_format": 3}'), "cannot be read",
    ),
    "another table": (lambda folder: (folder / "vectors.parquet").write_bytes(b"PAR1PAR1"), "is not as the product"),
    "no table": (lambda folder: (folder / "vectors.parquet").unlink(), "lacks vectors.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_or_hostile_product_is_refused(products, tmp_path, name):
    change, words = HOSTILE[name]
    shutil.copytree(products(), tmp_path / "out")
    change(tmp_path / "out")
    with pytest.raises((ValueError, RuntimeError), match=words):
        tw.find(tmp_path / "out", vector=np.ones(LENGTH))


def test_a_table_that_its_item_vouches_for_is_read_with_distrust(products, tmp_path):
    """Whoever changed the table may have changed the checksum: numbers that are none are no neighbours."""
    shutil.copytree(products(), tmp_path / "out")
    path = tmp_path / "out/vectors.parquet"
    table = pq.read_table(path)
    flat = np.array(table["vector"].combine_chunks().flatten().to_numpy(), dtype=np.float16)
    flat[: LENGTH * 5] = np.inf
    flat[LENGTH * 5 : LENGTH * 10] = np.nan
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), LENGTH)
    box = table["bbox"].combine_chunks()
    edges = [box.field(name).to_numpy().copy() for name in ("xmin", "ymin", "xmax", "ymax")]
    edges[0][20:25], edges[3][25:30] = np.nan, 1e300
    bbox = pa.StructArray.from_arrays([pa.array(edge) for edge in edges], names=["xmin", "ymin", "xmax", "ymax"])
    changed = table.set_column(1, table.schema.field("vector"), vectors)
    place = changed.column_names.index("bbox")
    pq.write_table(changed.set_column(place, "bbox", bbox), path)
    item = json.loads((tmp_path / "out/item.json").read_text())
    item["assets"]["vectors"]["file:checksum"] = file_multihash(path)
    (tmp_path / "out/item.json").write_text(json.dumps(item))
    found = tw.find(tmp_path / "out", vector=np.ones(LENGTH), k=1000)
    assert 0 < len(found) <= table.num_rows - 20
    assert np.isfinite(found["score"].to_numpy()).all()
    with pytest.raises(ValueError, match="lies in the product"):
        tw.find(tmp_path / "out", vector=np.ones(LENGTH), index=tmp_path / "out/index")
