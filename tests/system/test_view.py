"""`tilewright view`: the command itself, its page in a real browser, and products that lie elsewhere."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import boto3
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from typer.testing import CliRunner

from tests.support.browsers import DESK, PHONE, cut_off
from tests.support.file_server import serve_elsewhere
from tests.support.viewed import COLOURS, looked_at, page_of, put_layer, put_product, tile_of
from tilewright.flows.cli.main import app

TO_DEGREES = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}


def test_the_command_prints_its_address_answers_and_ends_with_ctrl_c(whole):
    pytest.importorskip("js_lib_leaflet", reason="the extra `view` is not installed")
    assert looked_at(whole) == ["small"]
    assert looked_at(whole, whole) == ["small", "small"]


def test_without_its_packages_the_command_says_what_to_install(whole, monkeypatch):
    monkeypatch.setattr("tilewright.flows.view.serve.NEEDED", {"no_such_module": "no-such-package"})
    said = CliRunner().invoke(app, ["view", str(whole)])
    assert said.exit_code == 2
    assert re.search(
        r"view needs no-such-package: \S*pip install -c constraints.txt -e '\.\[view\]' in \S",
        " ".join(said.output.split()),
    )


def test_what_is_no_product_is_refused_before_anything_is_served(tmp_path):
    pytest.importorskip("js_lib_leaflet", reason="the extra `view` is not installed")
    said = CliRunner().invoke(app, ["view", str(tmp_path), "--no-browser"])
    assert said.exit_code == 2
    assert "holds no finished product" in said.output


def assert_same_page(there, here, product):
    """Tiles, values and scenes of a product that lies elsewhere are those of the local one."""
    with rasterio.open(product / "class.tif") as dataset:
        pixels, affine = dataset.read(1), dataset.transform
    for row, col in ((3, 4), (100, 200), (250, 250), (17, 130)):
        lon, lat = TO_DEGREES.transform(*(affine * (col + 0.5, row + 0.5)))
        (found,) = there.values(lon, lat)
        assert (found,) == tuple(here.values(lon, lat))
        assert found[0].get("value", 255) == pixels[row, col]
        tile = tile_of(lon, lat, 16)
        assert np.array_equal(there.tile(0, 0, 16, *tile), here.tile(0, 0, 16, *tile))
    assert there.json("scenes/0.json") == here.json("scenes/0.json")


def test_a_product_in_a_bucket_is_shown_and_its_scenes_are_read_only_if_it_is_trusted(whole, moto, monkeypatch):
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": moto}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    client.create_bucket(Bucket="viewed")
    for path in whole.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "viewed", f"a/b/{path.relative_to(whole)}")
    lon, lat = TO_DEGREES.transform(400_905, 5_400_005)
    asked = f"series/0.json?lon={lon}&lat={lat}"
    with page_of(whole) as here:
        with page_of("s3://viewed/a/b") as there:
            assert_same_page(there, here, whole)
            assert there.status(asked) == 422
        with page_of("s3://viewed/a/b", trusted=True) as there:
            assert there.json(asked) == here.json(asked)


def test_a_product_on_a_web_server_is_shown(whole):
    with serve_elsewhere(whole.parent) as address, page_of(whole) as here, page_of(f"{address}/{whole.name}") as there:
        assert_same_page(there, here, whole)


HOSTILE = '</script><script>document.title="hacked"</script><img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two products of one place: the first all land, the second all water but for its last rows."""
    folder = tmp_path_factory.mktemp("two")
    land, water = np.zeros((400, 500), dtype=np.uint8), np.ones((400, 500), dtype=np.uint8)
    water[350:] = 255
    heights = np.random.default_rng(1).normal(50, 20, land.shape).astype(np.float32)
    for name, values in (("before", land), ("after", water)):
        rows = [put_layer(folder / name, "class", values), put_layer(folder / name, "height", heights)]
        told = [{"id": f"scene-{name}", "datetime": "2021-06-17T10:00:00Z", "cloud_cover": 12.5}]
        rows[1]["description"] = HOSTILE
        put_product(folder / name, rows, name=name, scenes=told, model={"name": HOSTILE}, attribution=HOSTILE)
    return folder / "before", folder / "after", heights


@pytest.fixture
def opened(browser, two):
    """Opens the page in a tab of a size, watched: no request leaves this machine, and nothing goes wrong unseen."""
    tabs, wrong = [], []
    with page_of(*two[:2]) as page:

        def open_at(size):
            context = browser.new_context(viewport={"width": size[0], "height": size[1]}, has_touch=size == PHONE)
            context.set_default_timeout(10_000)
            host = urlsplit(page.address).netloc
            context.on("request", lambda each: urlsplit(each.url).netloc in {host, ""} or wrong.append(each.url))
            context.on("console", lambda message: wrong.append(message.text))
            context.on("weberror", lambda error: wrong.append(str(error.error)))
            tabs.append(context)
            tab = context.new_page()
            tab.goto(page.address)
            tab.wait_for_selector(".leaflet-tile-loaded")
            settle(tab)
            return tab

        yield open_at
        for context in tabs:
            context.close()
    assert wrong == []


def settle(tab):
    """Wait until all tiles that are asked for are there."""
    tab.wait_for_function("() => !document.querySelector('img.leaflet-tile:not(.leaflet-tile-loaded)')")
    tab.wait_for_timeout(400)


def colour_at(tab, across, down):
    """The colour on the screen at a share of the map's box."""
    import io

    from PIL import Image

    box = tab.locator("#map").bounding_box()
    x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
    shot = Image.open(io.BytesIO(tab.screenshot(clip={"x": x - 1, "y": y - 1, "width": 2, "height": 2})))
    return shot.convert("RGB").getpixel((0, 0))


def cut(tab):
    """What cannot be seen, the tiles and lines of the map aside, which reach beyond it."""
    return [each for each in cut_off(tab) if "leaflet-tile" not in each and "leaflet-zoom-animated" not in each]


def near(one, other):
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 2


def test_products_of_one_name_are_told_apart_by_their_dates(browser, tmp_path):
    for month in ("06", "09"):
        told = [{"id": "scene", "datetime": f"2021-{month}-17T10:00:00Z", "cloud_cover": 0}]
        row = put_layer(tmp_path / month, "class", np.zeros((40, 50), dtype=np.uint8))
        put_product(tmp_path / month, [row], name="lake", scenes=told)
    with page_of(tmp_path / "06", tmp_path / "09") as page:
        tab = browser.new_page()
        tab.goto(page.address)
        tab.wait_for_selector(".leaflet-tile-loaded")
        named = tab.locator("#left option").all_inner_texts()
        assert len({*named}) == 2
        assert all(name.startswith("lake · ") and name.endswith(" · class") for name in named)
        tab.close()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_draws_swipes_and_tells_the_raster_s_own_values(opened, two, size):
    tab = opened(size)
    assert tab.title() == "before, after · Tilewright"
    assert cut(tab) == []
    assert near(colour_at(tab, 0.45, 0.5), COLOURS[0])
    # Both sides of the line between the two products.
    tab.locator("#swipe-on").check()
    settle(tab)
    assert near(colour_at(tab, 0.4, 0.55), COLOURS[0])
    assert near(colour_at(tab, 0.6, 0.55), COLOURS[1])
    divider = tab.locator("#divider").bounding_box()
    box = tab.locator("#map").bounding_box()
    middle = divider["y"] + 0.7 * divider["height"]
    tab.mouse.move(divider["x"] + divider["width"] / 2, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.3 * box["width"], middle, steps=4)
    tab.mouse.up()
    assert near(colour_at(tab, 0.4, 0.55), COLOURS[1])
    assert tab.locator("#divider").get_attribute("aria-valuenow") == "30"
    # A click tells what the rasters hold.
    tab.mouse.click(box["x"] + 0.52 * box["width"], box["y"] + 0.5 * box["height"])
    tab.wait_for_selector("#values tr[data-layer]")
    cells = {
        row.get_attribute("data-layer"): row.locator("td").last
        for row in tab.locator("#values tr").all()
        if row.get_attribute("data-layer")
    }
    assert {key: cells[key].inner_text() for key in ("0/0", "1/0")} == {"0/0": "land (0)", "1/0": "water (1)"}
    row, col = map(int, re.findall(r"\d+", cells["0/1"].get_attribute("title")))
    assert np.float32(cells["0/1"].inner_text().removesuffix(" m")) == two[2][row, col]
    # The line of scenes, and the texts of others as texts.
    assert tab.locator("#chart .point").count() == 1
    assert HOSTILE in tab.locator(".facts").first.inner_text()
    assert HOSTILE in tab.locator(".leaflet-control-attribution").inner_text()
    assert tab.locator("img[src=x]").count() == 0
    assert cut(tab) == []


def test_a_product_across_180_degrees_is_one_piece_on_the_map(browser, tmp_path):
    corner = Affine(20, 0, 690_000, 0, -20, 6_000_000)
    put_product(
        tmp_path,
        [put_layer(tmp_path, "class", np.ones((600, 900), dtype=np.uint8), crs="EPSG:32660", transform=corner)],
    )
    with page_of(tmp_path) as page:
        context = browser.new_context(viewport={"width": DESK[0], "height": DESK[1]})
        tab = context.new_page()
        tab.goto(page.address)
        tab.wait_for_selector(".leaflet-tile-loaded")
        settle(tab)
        box = tab.locator("#map").bounding_box()
        # 180 degrees are near the middle of the map.
        for across in (0.3, 0.45, 0.55, 0.7):
            assert near(colour_at(tab, across, 0.5), COLOURS[1]), across
        for across, east in ((0.3, "E"), (0.7, "W")):
            tab.mouse.click(box["x"] + across * box["width"], box["y"] + 0.5 * box["height"])
            tab.wait_for_function(f"() => document.getElementById('where').textContent.endsWith('° {east}')")
            tab.wait_for_selector("#values tr[data-layer='0/0']")
            assert tab.locator("#values td").last.inner_text() == "water (1)"
        context.close()
