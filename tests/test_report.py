from __future__ import annotations

import base64
import io
import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.picture import true_colour
from tasks.report import area_table, render_report
from tasks.report_layers import LONGEST_SIDE, map_uri
from tasks.report_page import relative
from tasks.report_timeline import timeline
from tasks.report_words import duration, figure, fixed, percent, size

HOSTILE = "\"'><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>{{ 7*7 }}"

REPORT: dict[str, Any] = {
    "name": "danube-water",
    "tilewright_version": "0.1.0",
    "model": {"name": "ndwi-water", "sha256": "ab" * 32, "tasks": ["semantic-segmentation"]},
    "job": "name: danube-water\n",
    "grid": {"crs": "EPSG:32633", "resolution": 10, "shape": [379, 578], "bounds": [359130, 5348550, 364910, 5352340]},
    "area_km2": 21.9062,
    "bytes_read": 1_743_221,
    "blocks": 4,
    "windows_run": 1719,
    "windows_skipped": 3,
    "passes": 1.07,
    "read_factor": 1.21,
    "seconds": {"search": 0.21, "infer": 2.31, "total": 4.87},
    "floor_seconds": 3.02,
    "efficiency": 0.62,
    "km2_per_s": 4.5,
    "peak_memory_mb": 412.4,
    "provider": "CPUExecutionProvider",
    "receptive_field": {"radius": 23, "verdict": "bounded"},
    "trim": 32,
    "exact": True,
    "exact_reason": "the receptive field is trimmed away",
    "period": "2021-06-01/2021-06-30",
    "scenes": [
        {
            "id": "S2B_33UUP_20210617",
            "datetime": "2021-06-17T10:05:59Z",
            "cloud_cover": 12.34,
            "state": "no-offset",
            "state_reason": "baseline 03.00 < 04.00",
            "used_in_blocks": 4,
            "step": "before",
        }
    ],
    "layers": [
        {
            "name": "class",
            "classes": [
                {
                    "value": 0,
                    "name": "other",
                    "color": "D8D2C2",
                    "pixels": 190819,
                    "area_km2": 19.0819,
                    "percent": 87.107,
                },
                {
                    "value": 1,
                    "name": "water",
                    "color": "1F6FB5",
                    "pixels": 28243,
                    "area_km2": 2.8243,
                    "percent": 12.893,
                },
            ],
            "nodata_percent": 0.0,
        },
        {
            "name": "ndwi",
            "kind": "value",
            "unit": "1",
            "min": -0.873,
            "max": 0.7333,
            "mean": -0.4531,
            "nodata_percent": 1.5,
        },
    ],
    "failures": [],
    "warnings": [],
    "started": "2026-01-20T10:02:11Z",
    "finished": "2026-01-20T10:02:16Z",
}


class Page(HTMLParser):
    """Everything a browser would load, follow, run or show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.shown: list[str] = []
        self._inside: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1][0] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1][0] == "script":
            self.scripts.append((self._inside[-1][1], data))
        elif not self._inside:
            self.shown.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.shown)).replace("\u00a0", " ").replace("\u202f", " ")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def solid(value: tuple[int, int, int, int], shape: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.full((*shape, 4), value, dtype=np.uint8)


def page(report: dict[str, Any], maps: dict[str, np.ndarray] | None = None, scene: np.ndarray | None = None) -> Page:
    return Page(render_report(report, true_colour=scene, maps=maps or {}))


@cache
def full_page() -> Page:
    scene = np.full((4, 6, 3), 80, dtype=np.uint8)
    return page(REPORT, {"class": solid((31, 111, 181, 255)), "ndwi": solid((68, 1, 84, 255))}, scene)


def assert_loads_nothing(found: Page) -> None:
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag}> has a handler {name}"
            if name in {"src", "srcset", "poster", "data", "action", "background", "xlink:href"}:
                assert (value or "").startswith("data:image/"), f"<{tag} {name}> loads {value!r}"
            if name == "href":
                assert tag == "a"
                assert (value or "").startswith(("./", "#")), f"a link leaves the product: {value!r}"
            if name == "style":
                assert "url(" not in (value or "")
    assert {tag for tag, _ in found.tags}.isdisjoint({"link", "iframe", "object", "embed", "base"})


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
    assert relative(name) == link


@pytest.mark.parametrize("absent", [*REPORT, None])
def test_any_key_may_be_missing_or_nonsense(absent: str | None) -> None:
    kept = {key: value for key, value in REPORT.items() if key != absent}
    assert_loads_nothing(page(kept if absent else {}))
    if absent:
        for nonsense in (None, 3, "x", [], {}, [1, None], {"a": [1]}):
            assert_loads_nothing(page({**REPORT, absent: nonsense}))


def test_failures_and_warnings_stand_before_the_map() -> None:
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


def test_an_unbounded_receptive_field_is_said() -> None:
    report = {**REPORT, "exact": False, "receptive_field": {"radius": None, "verdict": "unbounded"}}
    assert "no measured bound" in page(report).text


def test_an_effectively_bounded_receptive_field_is_not_called_bounded() -> None:
    report = {**REPORT, "receptive_field": {"radius": 96, "verdict": "effectively-bounded", "tolerance": 1e-6}}
    assert "fades within 96 px of a pixel (below 1.00e-06 beyond)" in page(report).text


def test_areas_add_up_and_percent_refers_to_what_is_valid() -> None:
    water, other = sorted(area_table({0: 300, 1: 100}, 100.0), key=lambda row: row.pixels)
    assert (water.value, water.area_km2, water.percent) == (1, 0.01, 25.0)
    assert (other.value, other.area_km2, other.percent) == (0, 0.03, 75.0)
    assert [row.percent for row in area_table({0: 0}, 100.0)] == [0.0]
    assert area_table({}, 100.0) == ()


def test_fifty_classes_are_listed_by_area_and_the_absent_ones_named_apart() -> None:
    classes = [{"value": n, "name": f"kind{n:02d}", "pixels": n, "area_km2": n / 10, "percent": n} for n in range(50)]
    text = page({**REPORT, "layers": [{"name": "class", "classes": classes}]}).text
    assert text.index("kind49") < text.index("kind01")
    assert "Not found anywhere: kind00" in text


def test_three_hundred_scenes_fold_their_table_and_keep_their_marks() -> None:
    scenes = [
        {"id": f"S{n}", "datetime": f"2022-{n % 12 + 1:02d}-01T00:00:00Z", "cloud_cover": n % 101} for n in range(300)
    ]
    found = page({**REPORT, "scenes": scenes})
    assert len([1 for tag in found.all("circle") if "cx" in tag and "%" in (tag["cx"] or "")]) == 300
    assert "All 300 scenes" in found.text


def test_scenes_without_cloud_cover_make_a_line_and_no_chart() -> None:
    scenes = [{"id": "S1A", "datetime": "2023-04-03T05:00:00Z", "cloud_cover": None}]
    found = page({**REPORT, "scenes": scenes})
    assert "median cloud" not in found.text
    assert "cloud cover" not in found.text
    assert "clear" not in found.text
    assert [tag for tag in found.all("rect") if (tag.get("class") or "").startswith("mark")]


def test_marks_stand_in_the_order_of_time_within_their_period() -> None:
    scenes = [
        {"id": "late", "datetime": "2021-09-25T00:00:00Z", "step": "after"},
        {"id": "early", "datetime": "2021-06-17T00:00:00Z", "step": "before"},
    ]
    line = timeline({"scenes": scenes, "period": {"before": "2021-06-01/2021-06-30", "after": "2021-09-01/2021-09-30"}})
    assert [mark.id for mark in line.marks] == ["early", "late"]
    for mark, period in zip(line.marks, line.periods, strict=True):
        assert mark.at is not None
        assert period.at < mark.at < period.at + period.width
        assert mark.colour == period.colour
    assert line.marks[0].colour != line.marks[1].colour


@pytest.mark.parametrize(
    "dates", [["0001-01-01", "9999-12-31"], ["2021-06-17"], ["2015-07-01", "2026-01-01"], ["2021-12-31", "2022-01-01"]]
)
def test_ticks_are_few_whatever_the_length(dates: list[str]) -> None:
    line = timeline({"scenes": [{"id": day, "datetime": day} for day in dates]})
    assert 1 <= len(line.ticks) <= 9
    assert all(0 <= mark.at <= 100 for mark in line.marks if mark.at is not None)


def test_a_map_keeps_its_colours_exactly() -> None:
    given = solid((31, 111, 181, 255))
    given[0, 0], given[1, 2] = (0, 0, 0, 0), (216, 210, 194, 255)
    packed = map_uri(given).removeprefix("data:image/png;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(packed)))
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image.convert("RGBA")), given)


def test_a_map_of_many_colours_is_not_indexed() -> None:
    given = np.dstack([*np.mgrid[0:20, 0:20], np.zeros((20, 20)), np.full((20, 20), 255)]).astype(np.uint8)
    image = Image.open(io.BytesIO(base64.b64decode(map_uri(given).split(",")[1])))
    assert np.array_equal(np.asarray(image), given)


def test_a_large_map_is_thinned_and_never_averaged() -> None:
    given = np.zeros((10, 3 * LONGEST_SIDE, 4), dtype=np.uint8)
    given[:, ::2] = (9, 9, 9, 255)
    image = Image.open(io.BytesIO(base64.b64decode(map_uri(given).split(",")[1]))).convert("RGBA")
    assert max(image.size) <= LONGEST_SIDE
    assert {colour for _, colour in image.getcolors()} <= {(9, 9, 9, 255), (0, 0, 0, 0)}


def test_a_report_without_pictures_or_with_a_scene_only_still_stands() -> None:
    assert not page(REPORT).all("img")
    assert len(page(REPORT, {}, np.full((4, 6, 3), 80, np.uint8)).all("img")) == 1


def test_every_picture_given_is_in_the_switcher_even_when_no_layer_is_listed() -> None:
    found = page({}, {"observations": solid((1, 2, 3, 255)), "class": solid((1, 2, 3, 255))})
    assert len([tag for tag in found.all("input") if tag.get("type") == "radio"]) == 2


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figure(0.012345), "0.0123"),
        (figure(12345.6), "12\u202f346"),
        (figure(0), "0"),
        (figure(3), "3"),
        (figure(float("nan")), "–"),
        (figure("12"), "–"),
        (fixed(0.001, 2), "<\u00a00.01"),
        (fixed(0, 2), "0.00"),
        (percent(0.01), "<\u00a00.1\u00a0%"),
        (percent(0), "0.0\u00a0%"),
        (size(999), "999\u00a0B"),
        (size(1_500_000), "1.5\u00a0MB"),
        (duration(0.2), "0.20\u00a0s"),
        (duration(245), "4\u00a0min\u00a005\u00a0s"),
        (duration(7980), "2\u00a0h\u00a013\u00a0min"),
    ],
)
def test_figures_read_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected


def test_the_real_scene_renders(real: Any) -> None:
    import rasterio

    folder = real / "sentinel-2-l2a" / "S2B_33UUP_20210617_1_L2A"
    bands = []
    for name in ("red", "green", "blue"):
        with rasterio.open(folder / f"{name}.tif") as file:
            bands.append(file.read(1).astype(np.float32) / 10_000)
    scene = true_colour(*bands)
    assert scene.mean() == pytest.approx(110, abs=50), "neither black nor burnt out"
    assert len(page(REPORT, {"class": solid((31, 111, 181, 255), (379, 578))}, scene).all("img")) == 2
