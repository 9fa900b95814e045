"""Two finished products compared: figures by brute force, refusals in one sentence, hostile names, files, products."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import geopandas
import numpy as np
import pytest
from PIL import Image

import tilewright as tw
from tests.support.finished import CLASSES, finished, some_map
from tests.support.output_places import open_place
from tests.support.products import tilewright
from tilewright.flows.ask.compare import comparison_lines
from tilewright.flows.shown import shown
from tilewright.models.spec.outputs import ClassSpec, LayerSpec
from tilewright.tasks.compare.finished import open_finished
from tilewright.tasks.compare.pair import find_changes
from tilewright.tasks.storage.storage import open_storage

KEYS = {"layer", "classes", "n", "n_only_a", "n_only_b", "agreement", "transitions_km2", "most_different", "mcnemar"}
HOSTILE = "<script>alert(1)</script>\n\x1b[31m\u202e&\"' {{ 7*7 }}"


@pytest.fixture
def make(whole: Path, tmp_path: Path) -> Any:
    """Makes finished products of maps."""

    def make_one(name: str, values: np.ndarray, /, **how: Any) -> Path:
        return finished(whole, tmp_path / name, values, **how)

    return make_one


def digest(folder: Path) -> str:
    """The digest of all that a folder holds."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b""))
    return found.hexdigest()


def test_figures_of_moved_grids_are_those_of_the_common_rectangle(make, tmp_path):
    whole_a, whole_b = some_map(1, (220, 260)), some_map(2, (220, 260))
    a = make("a", whole_a[:180, :200])
    b = make("b", whole_b[30:, 50:], corner=(-540_000 + 30, 40_000 + 50), name="later")
    told = tw.compare(a, str(b), to=tmp_path / "cmp")
    assert json.loads((tmp_path / "cmp" / "comparison.json").read_text()) == told
    assert told.keys() >= KEYS
    first, second = whole_a[30:180, 50:200], whole_b[30:180, 50:200]
    both = (first != 255) & (second != 255)
    assert told["grid"]["shape"] == [150, 150]
    assert told["classes"] == ["land", "water", "forest"]
    assert told["n"] == both.sum()
    assert told["n_only_a"] == ((first != 255) & ~both).sum()
    assert told["n_only_b"] == ((second != 255) & ~both).sum()
    assert told["agreement"] == pytest.approx((first == second)[both].mean())
    counts = [[int((both & (first == i) & (second == j)).sum()) for j in range(3)] for i in range(3)]
    assert told["transitions"] == counts
    assert np.allclose(np.array(told["transitions_km2"]), np.array(counts) * 1e-4, rtol=2e-3)
    assert told["mcnemar"] is None
    shares = [cell["share"] for cell in told["most_different"]]
    assert shares == sorted(shares, reverse=True)
    assert shares
    assert all(0 < share <= 1 for share in shares)
    assert "150 x 150 pixels that both have" in told["summary"][0]
    table = geopandas.read_parquet(tmp_path / "cmp" / "changes.parquet")
    assert len(table) == told["n_places"]
    assert table["from"].isin(told["classes"]).all()
    assert told["largest_places"][0]["area_m2"] == table.area_m2.max()


def test_the_same_products_give_the_same_bytes_and_nothing_goes_into_them(make, tmp_path):
    a, b = make("a", some_map(1)), make("b", some_map(2))
    before = digest(a), digest(b)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        tw.compare(a, b, to=folder)
    assert digest(folders[0]) == digest(folders[1])
    assert sorted(path.name for path in folders[0].iterdir()) == [
        "changes.parquet",
        "changes.qml",
        "comparison.html",
        "comparison.json",
        "difference_class.qml",
        "difference_class.tif",
        "difference_class.tif.aux.xml",
    ]
    assert (digest(a), digest(b)) == before
    style = ET.fromstring((folders[0] / "changes.qml").read_bytes()).find("renderer-v2")  # noqa: S314 -- our own
    assert style.get("attr") == "to_value"
    assert [each.get("label") for each in style.iterfind("categories/category")] == ["land", "water", "forest"]
    (folders[1] / "changes.qml").write_text("<qgis>mine</qgis>")
    tw.compare(a, b, to=folders[1])
    assert (folders[1] / "changes.qml").read_text() == "<qgis>mine</qgis>", "one that somebody keeps there stays"


def test_opened_products_are_compared_too(make):
    a, b = make("a", some_map(1)), make("b", some_map(2))
    assert tw.compare(tw.open(a), tw.open(b)) == tw.compare(a, b)
    with pytest.raises(ValueError, match="not by int"):
        tw.compare(a, 3)


def test_layers_with_names_of_paths_are_left_out(make, tmp_path):
    layers = ("class", "inner/class")
    a, b = make("a", some_map(1), layers=layers), make("b", some_map(2), layers=layers)
    assert tw.compare(a, b, to=tmp_path / "cmp")["others"] == []


def test_a_product_and_itself_agree_everywhere(make, tmp_path):
    a = make("a", some_map(1))
    told = tw.compare(a, a, to=tmp_path / "cmp")
    assert told["agreement"] == 1
    assert (told["n_only_a"], told["n_only_b"], told["n_places"]) == (0, 0, 0)
    assert told["most_different"] == []
    assert "Nothing changed: every pixel that both observed has the same class in both." in told["summary"]
    assert len(geopandas.read_parquet(tmp_path / "cmp" / "changes.parquet")) == 0


def test_nothing_observed_in_both_is_said(make, tmp_path):
    values = some_map(1)
    told = tw.compare(make("a", values), make("b", np.full_like(values, 255)), to=tmp_path / "cmp")
    assert told["agreement"] is None
    assert told["summary"][0] == "No pixel was observed in both products, so nothing can be said of a change."
    assert "NaN" not in (tmp_path / "cmp" / "comparison.json").read_text()


def test_classes_may_stand_in_another_order_and_markers_and_values_may_differ(make):
    a, b = some_map(1), some_map(2)
    a[0, :3], b[0, :3] = 77, 0
    plain = tw.compare(make("a", a), make("b", b))
    b[b == 255] = 200
    turned = tw.compare(make("c", a), make("d", b, classes=CLASSES[::-1], nodata=200))
    assert {**plain, "b": 0, "a": 0} == {**turned, "b": 0, "a": 0}
    assert plain["classes"] == ["land", "water", "forest", "value 77"]
    assert plain["transitions"][3] == [3, 0, 0, 0]


def test_a_class_that_only_one_table_has_counts(make):
    a = np.zeros((20, 20), dtype=np.uint8)
    b = np.where(np.arange(20) < 5, 3, 0).astype(np.uint8) * np.ones((20, 1), dtype=np.uint8)
    told = tw.compare(make("a", a), make("b", b, classes=[*CLASSES, {"value": 3, "name": "snow"}]))
    assert told["classes"] == ["land", "water", "forest", "snow"]
    assert told["transitions"][0] == [300, 0, 0, 100]
    assert "In class only B has snow: pixels of these classes always differ." in told["summary"]
    assert not any("models" in sentence for sentence in told["summary"])


def test_another_model_is_said(make):
    a, b = (make(name, some_map(1), model={"name": f"water-{name}"}) for name in "ab")
    said = tw.compare(a, b)["summary"]
    assert said[0] == "A was made by water-a and B by water-b: what differs may be the models, not the ground."


def test_a_table_may_give_one_name_to_two_values(make):
    twice = [*CLASSES[:2], {"value": 2, "name": "water"}]
    told = tw.compare(make("a", some_map(1), classes=twice), make("b", some_map(2), classes=twice[::-1]))
    assert told["values"] == [0, 1, 2]
    assert told["transitions"][1][2] > 0


def test_a_large_place_is_drawn_from_a_smaller_level(make, tmp_path):
    a = np.zeros((600, 640), dtype=np.uint8)
    b = a.copy()
    b[50:550, 40:600] = 1
    tw.compare(make("a", a), make("b", b), to=tmp_path / "cmp")
    page = (tmp_path / "cmp" / "comparison.html").read_text()
    found = re.findall(r'src="data:image/png;base64,([^"]+)" alt="([AB]):', page)
    assert [letter for _, letter in found] == ["A", "B"]
    before, after = (
        np.array(Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGBA"))[..., :3] for shot, _ in found
    )
    assert before.shape == (300, 320, 3)
    # In A all is of one class, paler beside the place; in B the place alone is of another one.
    assert after[150, 160].tolist() == [0x2E, 0x86, 0xDE]
    assert before[150, 160].tolist() == [0xD9, 0xD4, 0xC7]
    assert before[5, 5].tolist() == after[5, 5].tolist() != before[150, 160].tolist()
    assert (after[24, 100] == after[5, 5]).all()
    assert (after[25, 100] == after[150, 160]).all()


def test_places_of_a_large_map_of_change_are_sought_in_a_smaller_level(make, monkeypatch):
    values = np.zeros((600, 640), dtype=np.uint8)
    values[50:550, 40:600] = 1
    product = open_finished(open_storage(str(make("a", values))), "a")
    spec = LayerSpec(name="class", kind="class", source="class", classes=(ClassSpec(value=0, name="unchanged"),))
    whole = find_changes(product.store.storage, product.grid, spec)
    monkeypatch.setattr("tilewright.tasks.compare.pair.MOST_PIXELS", 300_000)
    smaller = find_changes(product.store.storage, product.grid, spec)
    assert (whole.factor, smaller.factor, whole.n, smaller.n) == (1, 2, 1, 1)
    assert smaller.largest[0].box == whole.largest[0].box
    assert smaller.largest[0].km2 == pytest.approx(whole.largest[0].km2, rel=1e-6)


def test_several_layers_are_compared_each(make, tmp_path):
    a, b = make("a", some_map(1), layers=("class", "second")), make("b", some_map(2), layers=("class", "second"))
    told = tw.compare(a, b, to=tmp_path / "cmp")
    assert told["layer"] == "class"
    assert [other["layer"] for other in told["others"]] == ["second"]
    assert told["others"][0]["transitions"] == told["transitions"]
    assert (tmp_path / "cmp" / told["others"][0]["table"]).is_file()
    assert sum(sentence.startswith("Layer ") for sentence in told["summary"]) == 2


REFUSED = {
    "another CRS": ({"crs": "EPSG:32632"}, "two CRSs"),
    "another size of pixels": ({"resolution": 20.0, "corner": (-270_000, 20_000)}, "pixels of 10 and B of 20"),
    "elsewhere": ({"corner": (-100_000, 40_000)}, "no pixel in common"),
    "a value with another name": ({"classes": [{"value": 0, "name": "sea"}]}, "0 is land in A and sea in B"),
    "a name with another value": ({"classes": [{"value": 9, "name": "land"}]}, "land is 0 in A and 9 in B"),
    "no class in common": ({"classes": [{"value": 9, "name": "sea"}]}, "no class is in both"),
    "other layers": ({"layers": ("change",)}, "no layer in common (A: class; B: change)"),
    "no layer of classes": ({"layers": ()}, "B: none"),
    "no grid": ({"grid": None}, "does not say the grid"),
    "a grid of no CRS": ({"grid": {"crs": "x", "resolution": 1, "bounds": [0, 0, 1, 1], "shape": [1, 1]}}, "the grid"),
    "an endless grid": ({"grid": {"crs": "EPSG:32633", "resolution": 1e-300, "bounds": [0, 0, 1, 1], "shape": [1, 1]}},
                        "the grid"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_sentence(make, tmp_path, case):
    how, words = REFUSED[case]
    a, b = make("a", some_map(1)), make("b", some_map(2), **how)
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        tw.compare(a, b, to=tmp_path / "cmp")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "cmp").exists()


def test_the_command_prints_the_sentences_and_where_the_files_are(make, tmp_path):
    done = tilewright("compare", make("a", some_map(1)), make("b", some_map(2)), "--to", tmp_path / "cmp")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "cmp" / "comparison.json").read_text())
    said = " ".join(done.stdout.split())
    assert all(" ".join(sentence.split()) in said for sentence in told["summary"])
    assert f"{tmp_path}/cmp/comparison.html" in said


def test_its_table_of_changes_is_exported(make, tmp_path):
    tw.compare(make("a", some_map(1)), make("b", some_map(2)), to=tmp_path / "cmp")
    wanted = geopandas.read_parquet(tmp_path / "cmp" / "changes.parquet")
    for suffix in ("gpkg", "pmtiles", "parquet"):
        assert tw.export(tmp_path / "cmp", tmp_path / f"ch.{suffix}") == {"changes": len(wanted)}
    assert list(geopandas.read_file(tmp_path / "ch.gpkg")["to"]) == list(wanted["to"])
    (tmp_path / "cmp" / "changes.parquet").unlink()
    with pytest.raises(ValueError, match="lacks changes.parquet"):
        tw.export(tmp_path / "cmp", tmp_path / "ch.gpkg")
    (tmp_path / "cmp" / "comparison.json").write_text('{"layer": 1}')
    with pytest.raises(ValueError, match="holds no finished product"):
        tw.export(tmp_path / "cmp", tmp_path / "ch.gpkg")


def test_the_command_refuses_an_unfinished_product_in_one_sentence(make, tmp_path):
    a, b = make("a", some_map(1)), make("b", some_map(2))
    (b / "item.json").unlink()
    refused = tilewright("compare", a, b)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines() == [
        f"tilewright: {b} holds no finished product (no whole item.json): run its job to the end, then compare it."
    ]


@pytest.mark.parametrize("where", ["nowhere", "empty", "file"])
def test_what_is_no_product_is_refused(make, tmp_path, where):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=where):
        tw.compare(make("a", some_map(1)), tmp_path / where)


@pytest.mark.parametrize("where", ["a", "a/sub", "b/data.zarr"])
def test_nothing_is_written_into_a_product(make, tmp_path, where):
    a, b = make("a", some_map(1)), make("b", some_map(2))
    before = digest(a), digest(b)
    with pytest.raises(ValueError, match="is of a product"):
        tw.compare(a, b, to=tmp_path / where)
    assert (digest(a), digest(b)) == before


class Page(HTMLParser):
    """The tags and the texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.texts = list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        assert all(not (value or "").startswith(("http", "//", "javascript")) for _, value in attrs), attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_names_are_text_everywhere(make, tmp_path):
    classes = [{"value": 0, "name": HOSTILE, "color": "</style>"}, {"value": 1, "name": "x" * 100_000}, {"value": 2}]
    period = {HOSTILE: "2021-01-01/2021-02-01"}
    how = {"classes": classes, "name": HOSTILE, "model": {"name": HOSTILE}, "attribution": HOSTILE, "period": period}
    told = tw.compare(make("a", some_map(1), **how), make("b", some_map(2), **how), to=tmp_path / "cmp")
    source = (tmp_path / "cmp" / "comparison.html").read_text()
    page = Page()
    page.feed(source)
    assert "script" not in page.tags
    assert "\x1b" not in source
    assert "\u202e" not in source
    assert any("{{ 7*7 }}" in text for text in page.texts)
    assert all(len(sentence) < 1000 for sentence in told["summary"])
    lines = [shown(line) for line in comparison_lines(told, None)]
    assert all("\x1b" not in line and "\n" not in line and "\u202e" not in line for line in lines)
    assert geopandas.read_parquet(tmp_path / "cmp" / "changes.parquet")["from"].iloc[0]


def test_products_in_buckets_and_a_bucket_to_write_to(make, tmp_path, moto, monkeypatch):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    a, b = make("a", some_map(1)), make("b", some_map(2))
    here = tw.compare(a, b, to=tmp_path / "cmp")
    for path in sorted(a.rglob("*")):
        if path.is_file():
            storage.write(f"a/{path.relative_to(a)}", path.read_bytes())
    there = tw.compare(f"{storage.uri}/a", b, to=f"{storage.uri}/cmp")
    assert {**there, "a": 0} == {**here, "a": 0}
    assert storage.read("cmp/changes.parquet") == (tmp_path / "cmp" / "changes.parquet").read_bytes()
    assert json.loads(storage.read("cmp/comparison.json") or b"") == there


def test_the_name_is_loaded_without_what_is_slow() -> None:
    slow = ("onnxruntime", "prefect", "rasterio")
    code = f"import sys, tilewright as tw; tw.compare; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_damaged_is_said(make, tmp_path):
    a, b = make("a", some_map(1)), make("b", some_map(2))
    shard = next(path for path in (a / "data.zarr" / "class" / "c").rglob("*") if path.is_file())
    shard.write_bytes(b"garbage")
    with pytest.raises(RuntimeError, match="class"):
        tw.compare(a, b, to=tmp_path / "cmp")
    shutil.rmtree(a / "data.zarr" / "class")
    with pytest.raises(ValueError, match="no layer in common"):
        tw.compare(a, b, to=tmp_path / "cmp")
    assert not (tmp_path / "cmp").exists()
