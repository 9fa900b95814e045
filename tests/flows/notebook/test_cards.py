"""Values as a notebook shows them: what they tell, and that nothing of others becomes markup."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import tilewright as tw
from tests.support.paths import ROOT
from tests.support.report_pages import HOSTILE
from tilewright.tasks.notebook import LONGEST, MOST_ROWS, card, clean, figure, swatch, table, words

ALLOWED = {"div", "strong", "table", "tr", "th", "td", "span", "br", "img", "progress"}


class Elements(HTMLParser):
    """The elements of a text with their attributes, and its words."""

    def __init__(self, html):
        super().__init__()
        self.found, self.told = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.told += data


def harmless(html):
    """The words of rich text that has only elements of ours, no address of others and no script."""
    seen = Elements(html)
    assert {tag for tag, _ in seen.found} <= ALLOWED
    for tag, attributes in seen.found:
        assert set(attributes) <= {"style", "src", "alt", "value", "max"}, (tag, attributes)
        assert not re.search(r"url|expression|@import", attributes.get("style", ""))
        if tag == "img":
            assert attributes["src"].startswith("data:image/webp;base64,")
    return seen.told


def test_a_product_shows_its_map_its_legend_and_its_ground(whole):
    product = tw.open(whole)
    html = product._repr_html_()
    told = harmless(html)
    assert "Product small" in told
    for each in product.report["layers"][0]["classes"]:
        assert each["name"] in told
    assert "#0072b2" in html
    assert "km²" in told
    assert "50 to 89 %" in told
    assert any(tag == "img" for tag, _ in Elements(html).found)
    assert repr(product) == f"<Product small: class, confidence; {product.output}>"
    assert product._ipython_key_completions_() == list(product)
    assert product.tables._ipython_key_completions_() == ["manifest", "items"]


def test_a_report_is_a_mapping_that_shows_its_figures(whole):
    report = tw.open(whole).report
    assert report == json.loads((whole / "report.json").read_text())
    assert json.loads(json.dumps(report)) == report
    told = harmless(report._repr_html_())
    for scene in report["scenes"]:
        assert scene["id"] in told
    assert report["exact_reason"][:100] in told


def test_plans_jobs_and_scenes_show_what_they_hold(job):
    plan, scenes = tw.plan(job), tw.search(job)
    assert repr(plan) == f"<Plan small: {len(plan.raster.blocks)} blocks, 1 scenes>"
    assert repr(scenes) == "<1 scenes of 2023-06-10 to 2023-06-10>"
    for value, wanted in ((plan, ["256 x 256 px of 10 in EPSG:32633", "class, confidence"]), (scenes, ["2023-06-10"])):
        told = harmless(value._repr_html_())
        assert [each for each in wanted if each not in told] == []
    keys = {"name": "mine", "area": [13.1, 48.2, 13.2, 48.3], "period": "2021-06", "model": "ndwi-water"}
    asked = tw.Job.model_validate({**keys, "source": "earth-search", "grid": {"resolution": 20}})
    told = harmless(asked._repr_html_())
    for wanted in ("13.1 to 13.2° E", "2021-06-01/2021-06-30", "earth-search", "ndwi-water", "resolution=20"):
        assert wanted in told, wanted
    assert "tolerance" not in told, "keys that the job does not name are left out"


def test_what_gives_access_to_a_source_is_not_shown():
    keys = {"area": [13.1, 48.2, 13.2, 48.3], "period": "2021-06", "model": HOSTILE, "name": "mine"}
    source = {"href": "https://user:word1@example.com/api?token=word2", "s3_secret": "word3"}
    told = harmless(tw.Job.model_validate({**keys, "source": source})._repr_html_())
    assert "example.com/api" in told
    assert not re.search("word[123]", told)
    several = tw.Job.model_validate({**keys, "sources": {"a": source, "b": {"files": [{"href": "word3"}]}}})
    assert not re.search("word[123]", harmless(several._repr_html_()))


def test_hostile_words_of_a_product_stay_words(hostile):
    folder, _ = hostile
    product = tw.open(folder)
    for html in (product._repr_html_(), product.report._repr_html_()):
        told = harmless(html)
        assert HOSTILE in told
        assert "\x1b" not in html
        assert "\u202e" not in html
    assert "\n" not in repr(product)


def test_a_preview_that_is_none_is_left_out(whole, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    pictures = (b"", b"GIF89a", (whole / "preview.png").read_bytes()[:400], bomb.read_bytes(), b"\x89PNG" * 2**22)
    for picture in pictures:
        (folder / "preview.png").write_bytes(picture)
        assert "<img" not in tw.open(folder)._repr_html_(), picture[:20]
    (folder / "preview.png").unlink()
    assert "Product small" in tw.open(folder)._repr_html_()


@pytest.mark.parametrize(
    "report", ["{}", '{"layers": 3, "scenes": "x", "grid": [], "tables": {"a": 1}}', "[]", "no JSON"]
)
def test_a_damaged_report_shows_what_is_left(whole, tmp_path, report):
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    (folder / "report.json").write_text(report)
    product = tw.open(folder)
    harmless(product._repr_html_())
    harmless(product.report._repr_html_())
    assert repr(product).startswith("<Product")


def test_text_is_bounded_and_a_long_table_says_how_much_it_leaves_out():
    assert len(clean("x" * 10**6)) < LONGEST + 10
    html = str(table(("n",), [(n,) for n in range(MOST_ROWS + 1200)]))
    assert html.count("<tr>") == MOST_ROWS + 1
    assert "and 1,200 more" in html


def test_colours_and_pictures_are_only_those_of_ours():
    assert (
        swatch('red"><b>')
        == figure("https://evil.example/x.png", "x")
        == figure('data:image/png;base64,"><b>', "x")
        == ""
    )
    assert swatch("#00ff00")
    assert figure("data:image/png;base64,AAAA", HOSTILE).count("<") == 1
    assert harmless(card(HOSTILE, [(HOSTILE, HOSTILE)], subtitle=HOSTILE)).count(HOSTILE) == 4


def test_words_of_mappings_tell_where_a_source_is_and_no_more():
    assert words({"href": "a", "token": "b"}) == "a"
    assert words({"x": {"href": "a", "token": "b"}, "y": [1, 2]}) == "x: a, y: 1, 2"
    assert words([{"token": "b"}]) == "1 described"


def test_a_product_is_shown_without_matplotlib_and_ipython(whole):
    code = (
        "import sys, tilewright as tw; product = tw.open(sys.argv[1]); product._repr_html_(); "
        "product['class'].rio.crs; product['class'].odc.geobox; "
        "print([name for name in ('matplotlib', 'IPython') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(whole)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_classes_are_flags_and_layers_have_their_accessors(whole):
    layer = tw.open(Path(whole))["class"]
    assert layer.attrs["flag_values"] == [0, 1]
    assert layer.attrs["flag_meanings"].split() == ["land", "water"]
    assert layer.rio.crs.to_epsg() == layer.odc.crs.epsg == 32633
    assert layer.odc.geobox.shape == layer.shape


def test_a_cube_has_its_accessors(job):
    cube = tw.cube(job)
    assert cube.rio.crs.to_epsg() == cube.odc.crs.epsg == 32633
    assert cube.odc.geobox.shape == cube.shape[2:]
    assert cube.isel(time=0).rio.clip_box(*cube.rio.bounds()).shape == cube.shape[1:]
