"""The pages that products, evaluations and comparisons leave, in a real browser: all of it is drawn, and fits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tilewright as tw
from tests.support.browsers import DESK, PHONE, cut_off, missing_pictures, open_file, watched
from tests.support.finished import CLASSES, finished, some_map, with_confidence
from tests.support.report_pages import REPORT, solid
from tests.support.seen import seen_product
from tests.system.test_evaluate import labels
from tests.tasks.audit.test_objects import six_squares, square, written
from tilewright.tasks.report.render import render_report

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = "a_class_whose_name_somebody_wrote_in_full-without_a_blank_between_its_parts"


@pytest.fixture(scope="module")
def pages(whole: Path, small_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages by what they are."""
    folder = tmp_path_factory.mktemp("pages")
    first, second = some_map(1), some_map(2)
    classes = [*CLASSES[:2], {**CLASSES[2], "name": LONG}]
    percent = np.random.default_rng(3).integers(30, 100, first.shape)
    mapped = with_confidence(finished(whole, folder / "mapped", first, classes=classes), first, percent=percent)
    said = labels(folder, first, n=400)
    said.write_text(said.read_text().replace('"forest"', f'"{LONG}"'))
    tw.evaluate(mapped, said, to=folder / "evaluated", trust=0.8, by="class")
    squares = six_squares(folder / "squares")
    there = written(folder, [square(10, 10), square(42, 10), square(70, 75)], name=["ship", "ship", "car"])
    tw.evaluate(squares, there, to=folder / "objects")
    later = finished(whole, folder / "later", second, classes=classes, name="later")
    tw.compare(mapped, later, to=folder / "compared")
    seen = seen_product(folder / "seen", classes=("land", LONG))
    full = copy.deepcopy(REPORT)
    full["layers"][0]["classes"][1]["name"] = LONG
    full["name"] = full["model"]["name"] = LONG
    full["scenes"] = [
        {
            **full["scenes"][0],
            "id": f"S2B_MSIL2A_202106{day:02}T100559_N0500_R022_T33UUP",
            "datetime": f"2021-06-{day:02}T10:05:59Z",
        }
        for day in range(1, 11)
    ]
    pictures = {"class": np.concatenate([solid((31, 111, 181, 255)), solid((216, 210, 194, 255))])}
    scene = np.random.default_rng(1).integers(0, 255, (8, 6, 3)).astype(np.uint8)
    (folder / "full.html").write_text(render_report(full, maps=pictures, true_colour=scene), "utf-8")
    return {
        "report": seen / "report.html",
        "full report": folder / "full.html",
        "evaluation": folder / "evaluated" / "evaluation.html",
        "objects": folder / "objects" / "evaluation.html",
        "comparison": folder / "compared" / "comparison.html",
    }


PAGES = ("report", "full report", "evaluation", "objects", "comparison")


@pytest.mark.parametrize("page", PAGES)
def test_all_of_a_page_is_seen_on_a_desk_and_on_a_phone(browser, pages, page):
    for size, scheme in ((DESK, "light"), (PHONE, "dark")):
        with watched(browser, size=size, color_scheme=scheme) as tab:
            open_file(tab, pages[page])
            assert cut_off(tab) == [], (size, scheme)
            assert missing_pictures(tab) == []


@pytest.mark.parametrize("page", ["report", "full report"])
def test_the_tables_of_a_report_fit_on_a_phone(browser, pages, page):
    wide = (
        "(all) => all.filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.textContent.trim())"
    )
    with watched(browser, size=PHONE) as tab:
        open_file(tab, pages[page])
        assert tab.locator(".scroll").count() >= 3
        assert tab.locator(".scroll").evaluate_all(wide) == []


def drawn(tab: Page, selector: str) -> int:
    """How many of what a selector names have a width and a height on the screen."""
    boxes = tab.locator(selector).evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().toJSON())")
    return sum(box["width"] > 0.5 and box["height"] > 0.5 for box in boxes)


def colours(tab: Page, selector: str) -> list[str]:
    """The different colours behind what a selector names."""
    each = "(all) => [...new Set(all.map((each) => getComputedStyle(each).backgroundColor))]"
    return list(tab.locator(selector).evaluate_all(each))


def test_an_evaluation_shows_its_figures_as_pictures(browser, pages):
    with watched(browser) as tab:
        open_file(tab, pages["evaluation"])
        assert drawn(tab, ".matrix td.cell") == 9
        assert len(colours(tab, ".matrix td.cell")) > 2
        bars = tab.locator(".scores").first.locator(".gauge i")
        assert bars.count() == 6
        shares = "(all) => all.map((each) => each.offsetWidth / each.parentElement.offsetWidth)"
        words = tab.locator(".scores").first.locator(".gauge-words").all_inner_texts()
        assert bars.evaluate_all(shares) == pytest.approx([float(each.split()[0]) / 100 for each in words], abs=0.02)
        assert drawn(tab, ".scores .gauge b") >= 6
        assert drawn(tab, ".where svg image") == 1
        assert "No value" in tab.locator(".where").inner_text()
        n = tab.locator(".where svg circle").count()
        assert drawn(tab, ".where svg circle") == n > 300
        assert drawn(tab, ".trust svg circle") >= 5
        assert drawn(tab, ".places img") > 3


def test_a_map_of_a_report_is_moved_and_read(browser, pages):
    with watched(browser) as tab:
        open_file(tab, pages["report"])
        box = tab.locator(".map").bounding_box()
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        told = tab.locator(".readout").inner_text()
        assert "EPSG:32633" in told
        assert told.split("\n")[0] in {"land", LONG}
        tab.get_by_label("Zoom in").click()
        assert "scale(1.6)" in str(tab.locator(".sheet").first.get_attribute("style"))
        tab.locator(".legend button").first.click()
        assert tab.locator(".legend button").first.get_attribute("aria-pressed") == "false"
        tab.locator("#swipe-on").check()
        assert tab.locator(".swipe").is_visible()
