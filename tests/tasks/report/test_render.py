from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

from tests.support.danube import SCENE
from tests.support.report_pages import HOSTILE, REPORT, Page, assert_loads_nothing, full_page, page, solid
from tilewright.tasks.report.picture import true_colour
from tilewright.tasks.report.render import render_report
from tilewright.tasks.report.sections import relative_href


def test_the_page_loads_nothing_from_anywhere() -> None:
    html = render_report(
        REPORT, true_colour=np.full((4, 6, 3), 80, np.uint8), maps={"class": solid((31, 111, 181, 255))}
    )
    assert_loads_nothing(Page(html))
    css = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]
    assert "url(" not in css
    assert "@import" not in css


def test_only_the_pages_own_script_may_run() -> None:
    found = full_page()
    run = [text for attributes, text in found.scripts if attributes.get("type") != "application/json"]
    policy = next(meta["content"] or "" for meta in found.all("meta") if meta.get("http-equiv"))
    import hashlib

    expected = base64.b64encode(hashlib.sha256(run[0].encode()).digest()).decode()
    assert len(run) == 1
    assert f"script-src 'sha256-{expected}'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    "figure_shown",
    [
        "danube-water",
        "21.9 km²",
        "ndwi-water",
        "ab" * 32,
        "19.08",
        "2.82",
        "87.1 %",
        "12.9 %",
        "190 819",
        "28 243",
        "-0.873",
        "0.733",
        "-0.453",
        "1.5 %",
        "12.3 %",
        "S2B_33UUP_20210617",
        "17 Jun 2021",
        "no-offset",
        "baseline 03.00 < 04.00",
        "0.21 s",
        "2.31 s",
        "4.87 s",
        "3.02 s",
        "62 %",
        "4.5 km²/s",
        "412 MB",
        "1.74 MB",
        "1.21",
        "1.07",
        "1 719",
        "3 skipped",
        "CPUExecutionProvider",
        "23 px",
        "32 px",
        "EPSG:32633",
        "359130, 5348550, 364910, 5352340",
        "379 × 578",
        "48.292° N, 13.140° E",
        "20 Jan 2026 10:02 UTC",
    ],
)
def test_every_figure_of_the_report_is_on_the_page(figure_shown: str) -> None:
    assert figure_shown in full_page().text


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    report: dict[str, Any] = dict.fromkeys(
        ("name", "tilewright_version", "job", "provider", "exact_reason", "period"), HOSTILE
    )
    report |= {
        "model": {"name": HOSTILE, "sha256": HOSTILE, "tasks": [HOSTILE], "card": HOSTILE},
        "scenes": [{"id": HOSTILE, "datetime": HOSTILE, "cloud_cover": HOSTILE, "state": HOSTILE, "step": [HOSTILE]}],
        "layers": [
            {
                "name": HOSTILE,
                "description": HOSTILE,
                "classes": [{"value": HOSTILE, "name": HOSTILE, "color": "red;background:url(//e)"}],
            }
        ],
        "grid": {"crs": HOSTILE, "resolution": 10, "bounds": [0, 0, 1, 1]},
        "seconds": {HOSTILE: 1.0, "total": 2.0},
        "versions": {HOSTILE: HOSTILE},
        "files": [{"href": "javascript:alert(1)"}, {"href": "https://evil.example/"}, {"href": "../../etc/passwd"}],
        "failures": [{"item": HOSTILE, "reason": HOSTILE}, HOSTILE],
        "warnings": [HOSTILE],
        "attribution": HOSTILE,
    }
    found = page(report, {HOSTILE: solid((1, 2, 3, 255))})
    assert_loads_nothing(found)
    assert len(found.all("script")) == 2
    assert "alert(1)</script>" in found.text
    assert "{{ 7*7 }}" in found.text
    assert (
        json.loads(next(text for attributes, text in found.scripts if attributes.get("type")))["layers"][0]["classes"][
            0
        ][1]
        == HOSTILE
    )


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("class.tif", "./class.tif"),
        ("data.zarr/ndwi", "./data.zarr/ndwi"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("//evil.example/x", "./evil.example/x"),
        ("../../etc/passwd", "./etc/passwd"),
        ("a?b#c", "./a%3Fb%23c"),
    ],
)
def test_a_link_stays_below_the_report(name: str, link: str) -> None:
    assert relative_href(name) == link


@pytest.mark.parametrize("absent", [*REPORT, None])
def test_any_key_may_be_missing_or_nonsense(absent: str | None) -> None:
    kept = {key: value for key, value in REPORT.items() if key != absent}
    assert_loads_nothing(page(kept if absent else {}))
    if absent:
        for nonsense in (None, 3, "x", [], {}, [1, None], {"a": [1]}):
            assert_loads_nothing(page({**REPORT, absent: nonsense}))


def test_failures_and_warnings_come_before_the_map() -> None:
    html = render_report(
        {
            **REPORT,
            "failures": [{"item": "S2A_1", "band": "nir", "block": "3_4", "reason": "truncated"}],
            "warnings": ["odd"],
        },
        maps={"class": solid((1, 1, 1, 255))},
    )
    text = Page(html).text
    assert "S2A_1 · nir · 3_4 · truncated" in text
    assert html.index("1\u202ffailure".replace("\u202f", " ")) < html.index('<figure class="viewer"')
    assert "No failures" not in text
    assert "No failures" in full_page().text
    assert "No failures" not in page({}).text, "a report that does not speak of failures must not claim there were none"


@pytest.mark.parametrize(
    ("exact", "shown"),
    [(True, "Exact: the tiles are the whole image"), (False, "Not exact"), (None, "Exactness is not stated")],
)
def test_the_verdict_is_the_reports(exact: bool | None, shown: str) -> None:
    assert shown in page({**REPORT, "exact": exact}).text


def test_what_was_only_measured_is_not_called_exact() -> None:
    shown = page({**REPORT, "exact": False, "exactness": "measured"}).text
    assert "Measured, not proven" in shown
    assert "Not proven exact" in shown


def test_the_windows_that_were_compared_are_told() -> None:
    seams = {"windows": 24, "pixels": 400, "differing": 2, "percent": 0.5, "largest": 1e-7}
    shown = page({**REPORT, "seams": seams}).text
    told = "Windows compared with shifted ones: 24, differing pixels 2 of 400 (0.500 %), greatest difference 1e-07."
    assert told in shown
    assert "Beside missing" not in shown
    beside = page({**REPORT, "seams": {**seams, "gap_pixels": 40, "gap_differing": 3}}).text
    assert "Beside missing observations 3 of 40 differ." in beside
    assert "Seam index" not in beside
    layers = [{"name": "class", "index": 0.0123, "of": "share"}, {"name": "height", "index": 0.25, "of": "change"}]
    layers += [{"name": "unseen", "index": None, "of": "change"}, {"name": "same", "index": 0, "of": "change"}]
    indices = page({**REPORT, "seams": {**seams, "layers": layers}}).text
    assert "Seam index (share of pixels of classes, mean change of values): class 1.23 %, height 0.25." in indices
    many = [{"name": f"v{number}", "index": 1.0, "of": "change"} for number in range(20)]
    assert "v7 1 and 12 more." in page({**REPORT, "seams": {**seams, "layers": many}}).text
    assert "No window of this run was compared" in page({**REPORT, "seams": {"windows": 0, "pixels": 0}}).text


def test_pixels_beside_missing_ones_are_excepted_from_the_word_exact() -> None:
    excepted = "Pixels with or beside missing observations are excepted"
    assert excepted not in page(REPORT).text
    report = {
        **REPORT,
        "exact_reason": "tiled equals whole, but for pixels which are filled from their own window",
    }
    assert excepted in page(report).text


def test_the_rounding_of_a_precision_is_excepted_from_the_word_exact() -> None:
    assert "rounds otherwise" not in page(REPORT).text
    report = {**REPORT, "exact_reason": "tiled equals whole; but for the rounding of its 8-bit numbers"}
    assert "It is excepted that this model rounds otherwise: its 8-bit numbers." in page(report).text


def test_an_unbounded_receptive_field_is_reported() -> None:
    report = {**REPORT, "exact": False, "receptive_field": {"radius": None, "verdict": "unbounded"}}
    assert "no measured bound" in page(report).text


def test_an_effectively_bounded_receptive_field_is_not_called_bounded() -> None:
    report = {**REPORT, "receptive_field": {"radius": 96, "verdict": "effectively-bounded", "tolerance": 1e-6}}
    assert "fades within 96 px of a pixel (below 1.00e-06 beyond)" in page(report).text


def test_a_report_without_pictures_or_with_a_scene_only_is_rendered() -> None:
    assert not page(REPORT).all("img")
    assert len(page(REPORT, {}, np.full((4, 6, 3), 80, np.uint8)).all("img")) == 1


def test_the_real_scene_renders(real: Any) -> None:
    import rasterio

    folder = real / "sentinel-2-l2a" / SCENE
    bands = []
    for name in ("red", "green", "blue"):
        with rasterio.open(folder / f"{name}.tif") as file:
            bands.append(file.read(1).astype(np.float32) / 10_000)
    scene = true_colour(*bands)
    assert scene.mean() == pytest.approx(110, abs=50), "neither black nor burnt out"
    assert len(page(REPORT, {"class": solid((31, 111, 181, 255), (379, 578))}, scene).all("img")) == 2
