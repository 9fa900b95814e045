"""A report and its page, read as a browser would, for tests."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np

from tilewright.tasks.report.render import render_report

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
    "seconds": {"search": 0.21, "infer": 2.31, "write": 0.44, "total": 4.87},
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
