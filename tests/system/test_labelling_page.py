"""The page on which a sample is labelled, in a real browser: what is labelled there is what `evaluate` reads."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import tilewright as tw
from tests.support.browsers import DESK, PHONE, cut_off, missing_pictures, open_file, watched
from tests.support.seen import seen_product
from tilewright.flows.cli.main import app

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("small_pictures")

HOSTILE = ('"quoted", <script>alert(1)</script>', "=1+1")
REFUSED = """Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("Access is denied for this document.", "SecurityError"); },
})"""
FULL = """Storage.prototype.setItem = () => { throw new DOMException("exceeded the quota", "QuotaExceededError"); }"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, small_pictures: None) -> Path:
    return seen_product(tmp_path_factory.mktemp("seen"))


@pytest.fixture(scope="module")
def sampled(seen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of twelve places."""
    return drawn(seen, tmp_path_factory.mktemp("sampled"), 12)


def drawn(product: Path, folder: Path, n: int) -> Path:
    page = folder / "label.html"
    words = ["sample", product, "--n", n, "--to", folder / "sample.parquet", "--page", page]
    said = CliRunner().invoke(app, [*map(str, words)])
    assert said.exit_code == 0, said.output
    assert f"Label them in a browser: {page}" in said.output
    return page


def text(tab: Page, name: str) -> str:
    return tab.locator(f"#{name}").inner_text()


def press(tab: Page, *keys: str) -> None:
    for key in keys:
        tab.keyboard.press(key)


def downloaded(tab: Page, kind: str, folder: Path) -> Path:
    with tab.expect_download() as begun:
        tab.locator(f"[data-do={kind}]").click()
    file = folder / begun.value.suggested_filename
    begun.value.save_as(file)
    return file


def counts(product: Path, file: Path) -> list[list[int]]:
    """The table of confusion of a file of labels: labels down, the map across."""
    scores: dict[str, Any] = tw.evaluate(product, file)
    assert scores["design"]["n"] == scores["n"]
    return [row[:2] for row in scores["confusion"][:2]]


def expected(tab: Page, labels: dict[int, str]) -> list[list[int]]:
    """The same from what the page knows of the map, and the labels by place, the first 0."""
    data = json.loads(tab.locator("#data").text_content() or "")
    names = [each["name"] for each in data["classes"]]
    often = Counter((name, data["places"][place]["mapped"]) for place, name in labels.items())
    return [[often[label, mapped] for mapped in names] for label in names]


def test_labels_given_by_keys_and_clicks_are_kept_saved_and_evaluated(browser, seen, sampled, tmp_path):
    with watched(browser) as tab:
        open_file(tab, sampled)
        assert (text(tab, "number"), text(tab, "mapped")) == ("Place 1 of 12", "")
        assert tab.locator(".shot img").count() == 1
        assert tab.locator(".shot img").evaluate("(each) => each.naturalWidth") == 63
        assert missing_pictures(tab) == []
        assert tab.locator(".mark").bounding_box()["width"] == pytest.approx(
            tab.locator(".shot").bounding_box()["width"] / 63, abs=0.5
        )
        press(tab, "1", "2")
        tab.get_by_role("button", name="land").click()
        assert text(tab, "number") == "Place 4 of 12"
        press(tab, "ArrowLeft", "Backspace")
        assert text(tab, "kept").startswith("2 of 12 labelled, kept in this browser")
        press(tab, "ArrowRight", "ArrowRight", "2", "ArrowLeft", "9", "x")
        assert text(tab, "number") == "Place 5 of 12"
        assert tab.locator(".keys2 [aria-pressed=true]").inner_text().split()[-1] == "water"
        tab.reload()
        assert text(tab, "number") == "Place 5 of 12"
        assert text(tab, "kept").startswith("3 of 12 labelled")
        tab.get_by_role("button", name="next unlabelled").click()
        assert text(tab, "number") == "Place 6 of 12"
        tab.locator("#peek").check()
        assert text(tab, "mapped").startswith("The map says ")
        # Held down, a key labels one place.
        tab.keyboard.down("1")
        tab.keyboard.down("1")
        tab.keyboard.down("1")
        tab.keyboard.up("1")
        assert text(tab, "number") == "Place 7 of 12"
        given = {0: "land", 1: "water", 4: "water", 5: "land"}
        assert tab.locator("[role=progressbar]").get_attribute("aria-valuenow") == "4"
        for kind in ("geojson", "csv"):
            file = downloaded(tab, kind, tmp_path)
            assert counts(seen, file) == expected(tab, given)
            # As an editor on Windows saves it, with the mark that it puts first.
            ends = file.read_text("utf-8-sig").replace("\r\n", "\n").replace("\n", "\r\n")
            file.write_bytes((b"\xef\xbb\xbf" if kind == "csv" else b"") + ends.encode())
            assert counts(seen, file) == expected(tab, given)
    told = json.loads((tmp_path / "labels.geojson").read_text())["features"]
    assert [each["properties"]["class"] for each in told][:6] == ["land", "water", None, None, "water", "land"]
    assert [each["properties"]["map_shown"] for each in told][4:7] == [False, True, True]


def test_two_tabs_of_a_page_lose_nothing(browser, seen, sampled, tmp_path):
    from playwright.sync_api import expect

    with watched(browser) as one:
        two = open_file(one.context.new_page(), sampled)
        open_file(one, sampled)
        press(one, "1", "1")
        press(two, "ArrowRight", "ArrowRight", "2", "2")
        press(one, "ArrowRight", "ArrowRight", "1")
        for tab in (one, two):
            expect(tab.locator("#kept")).to_contain_text("5 of 12 labelled, kept")
        assert (text(one, "number"), text(two, "number")) == ("Place 6 of 12", "Place 5 of 12")
        given = {0: "land", 1: "land", 2: "water", 3: "water", 4: "land"}
        assert counts(seen, downloaded(two, "geojson", tmp_path)) == expected(one, given)
        press(two, "ArrowLeft", "Delete")
        expect(one.locator("#kept")).to_contain_text("4 of 12")


@pytest.mark.parametrize("script", [REFUSED, FULL], ids=["refused", "full"])
def test_a_browser_that_keeps_nothing_says_so_and_asks_before_it_closes(browser, seen, sampled, tmp_path, script):
    with watched(browser) as tab:
        tab.add_init_script(script)
        open_file(tab, sampled)
        assert "keeps nothing of this page" in text(tab, "unkept")
        asked: list[str] = []
        tab.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        tab.reload()
        assert asked == [], "nothing is lost yet"
        press(tab, "1", "2", "2")
        assert (
            text(tab, "kept")
            == "3 of 12 labelled. This browser keeps nothing: save the labels before you close the page."
        )
        given = {0: "land", 1: "water", 2: "water"}
        assert counts(seen, downloaded(tab, "csv", tmp_path)) == expected(tab, given)
        press(tab, "1")
        tab.reload()
        assert asked == ["beforeunload"]
        assert text(tab, "kept").startswith("0 of 12")


@pytest.mark.parametrize(
    "classes",
    [HOSTILE, ("2", "1"), ("crop", "crop"), (" a\nb", "\u202ec")],
    ids=["hostile", "numbers", "alike", "unseen"],
)
def test_classes_of_any_name_come_back_as_themselves(browser, seen, tmp_path, classes):
    product = tmp_path / "renamed"
    shutil.copytree(seen, product)
    report = json.loads((product / "report.json").read_text())
    for each, name in zip(report["layers"][0]["classes"], classes, strict=True):
        each["name"] = name
    (product / "report.json").write_text(json.dumps(report))
    page = drawn(product, tmp_path, 12)
    with watched(browser) as tab:
        open_file(tab, page)
        buttons = tab.locator(".keys2 button")
        assert buttons.count() == 2
        data = json.loads(tab.locator("#data").text_content() or "")
        names = [each["name"] for each in data["classes"]]
        given = {0: names[0], 1: names[1], 2: names[1], 3: names[0], 4: names[1]}
        for name in given.values():
            buttons.nth(names.index(name)).click()
        tab.reload()
        assert text(tab, "kept").startswith("5 of 12")
        for kind in ("geojson", "csv"):
            # Classes of one name are one class.
            should = [[5]] if classes[0] == classes[1] else expected(tab, given)
            assert counts(product, downloaded(tab, kind, tmp_path)) == should
    if classes == HOSTILE:
        assert (
            json.loads((tmp_path / "labels.geojson").read_text())["features"][0]["properties"]["class_name"]
            == HOSTILE[0]
        )
        assert ',"\'=1+1",' in (tmp_path / "labels.csv").read_text("utf-8-sig")


def test_a_page_of_five_hundred_places_is_as_quick(browser, seen, tmp_path):
    page = drawn(seen, tmp_path, 500)
    with watched(browser) as tab:
        began = time.monotonic()
        open_file(tab, page)
        assert missing_pictures(tab) == []
        press(tab, *"12" * 40)
        assert text(tab, "kept").startswith("80 of 500 labelled, kept")
        assert time.monotonic() - began < 10
        given = {place: ("land", "water")[place % 2] for place in range(80)}
        assert counts(seen, downloaded(tab, "geojson", tmp_path)) == expected(tab, given)


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def test_the_page_fits_its_screen(browser, sampled, size, scheme):
    with watched(browser, size=size, color_scheme=scheme) as tab:
        open_file(tab, sampled)
        tab.locator("#peek").check()
        assert cut_off(tab) == []
