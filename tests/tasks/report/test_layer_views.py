from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from tests.support.report_pages import REPORT, page, solid
from tilewright.tasks.report.layer_views import LONGEST_SIDE, map_uri


def test_fifty_classes_are_listed_by_area_and_the_absent_ones_named_apart() -> None:
    classes = [{"value": n, "name": f"kind{n:02d}", "pixels": n, "area_km2": n / 10, "percent": n} for n in range(50)]
    text = page({**REPORT, "layers": [{"name": "class", "classes": classes}]}).text
    assert text.index("kind49") < text.index("kind01")
    assert "Not found anywhere: kind00" in text


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


def test_every_picture_given_is_in_the_switcher_even_when_no_layer_is_listed() -> None:
    found = page({}, {"observations": solid((1, 2, 3, 255)), "class": solid((1, 2, 3, 255))})
    assert len([tag for tag in found.all("input") if tag.get("type") == "radio"]) == 2
