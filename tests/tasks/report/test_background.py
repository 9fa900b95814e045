"""The picture behind the map: cloud-free wherever a scene is, with and without a cloud mask."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.graphs import conv_stack
from tests.support.worlds import World, pixel_job, write_card
from tilewright.flows.plan.make import plan_job
from tilewright.models.spec.outputs import ClassSpec, LayerSpec
from tilewright.tasks.grid.pixel_box import PixelBox
from tilewright.tasks.places.pictures import PlacesMap
from tilewright.tasks.read.access import Access
from tilewright.tasks.report import background
from tilewright.tasks.report.background import background_picture, place_pictures

SIDE = 64
INPUT = {"name": "x", "bands": ("red", "green", "blue", "nir")}
OUTPUT = {"name": "y", "classes": ("land", "water"), "tw:activation": "softmax", "tw:layers": ["class"]}
GROUND, CLOUD = 0.05, 0.9


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return write_card(tmp_path_factory.mktemp("card"), conv_stack(n_in=4), inputs=[INPUT], outputs=[OUTPUT])


def days(folder, *, classes):
    """Two days under cloud and one that is clear on its left half only; with scene classes or without."""
    world = World(folder / "scenes")
    for day, cover in (("2023-06-05", 80), ("2023-06-10", 5), ("2023-06-20", 90)):
        clear = np.zeros((SIDE, SIDE), dtype=bool)
        clear[:, : SIDE // 2] = cover == 5
        shown = np.where(clear, GROUND, CLOUD).astype(np.float32)
        if not classes and cover == 5:
            shown = np.full((SIDE, SIDE), GROUND, dtype=np.float32)
        said = {"day": day, "scene": day, "cloud_cover": cover}
        for band in INPUT["bands"]:
            world.add(shown, band, unit="reflectance", **said)
        if classes:
            world.add(np.where(clear, 4, 9).astype(np.uint8), "scl", nodata=0, unit="class", **said)
    return world


def picture(world, card, folder):
    plan = plan_job(pixel_job(world, card, folder / "out", rows=(0, SIDE), cols=(0, SIDE)))
    return background_picture(plan, Access(), max_size=SIDE)


def test_without_a_mask_the_clearest_day_is_shown(card, tmp_path):
    shown = picture(days(tmp_path, classes=False), card, tmp_path)
    assert shown.shape == (SIDE, SIDE, 3)
    assert shown.max() < 128, "the median of three days would be a cloud"


def test_with_a_mask_clouds_are_shown_only_where_nothing_else_was_seen(card, tmp_path):
    shown = picture(days(tmp_path, classes=True), card, tmp_path)
    assert shown[:, : SIDE // 2].max() < 128
    assert shown[:, SIDE // 2 :].min() > 250


def test_a_product_far_longer_than_wide_is_shown(card, tmp_path):
    world = days(tmp_path, classes=False)
    plan = plan_job(pixel_job(world, card, tmp_path / "out", rows=(0, SIDE), cols=(0, 1)))
    assert background_picture(plan, Access(), max_size=16).shape == (16, 1, 3)


def test_the_ground_beneath_places_lies_where_it_is_asked_for(card, tmp_path, monkeypatch):
    world = days(tmp_path, classes=True)
    plan = plan_job(pixel_job(world, card, tmp_path / "out", rows=(0, SIDE), cols=(0, SIDE)))
    geobox = plan.raster.product_grid.geobox
    # Half of it lies beyond all scenes.
    aside = geobox.translate_pix(-SIDE // 2, 0).zoom_to((SIDE // 2, SIDE // 2))
    shown = background.ground_picture(plan, Access(), aside)
    assert shown.shape == (SIDE // 2, SIDE // 2, 3)
    assert not shown[:, : SIDE // 4].any()
    assert shown[:, SIDE // 4 :].all()
    assert shown[:, SIDE // 4 : -2].max() < 128, "the clear half of the scenes"
    monkeypatch.setattr(background, "MOST_SCENES", 2)
    assert background.ground_picture(plan, Access(), aside) is None


def test_places_are_drawn_over_the_ground_and_where_there_is_none():
    frame = PlacesMap(
        bounds=(0.0, 0.0, 100.0, 70.0),
        shape=(7, 10),
        crs="EPSG:32633",
        rows=np.array([3]),
        cols=np.array([4]),
        radius=2,
    )
    assert frame.ground.shape.yx == (4, 5)
    assert tuple(frame.ground.boundingbox)[0::3] == (0.0, 70.0)
    ground = np.zeros((4, 5, 3), dtype=np.uint8)
    ground[:, :3] = 200
    classes = (ClassSpec(value=0, name="land", color="#AA9977"), ClassSpec(value=1, name="water", color="#2288EE"))
    spec = LayerSpec(name="class", kind="class", source="y", classes=classes)
    drawn = frame.draw(np.array([1], dtype=np.uint8), spec, ground)
    assert (drawn[..., 3] == 255).all()
    plain = frame.draw(np.array([1], dtype=np.uint8), spec, None)
    np.testing.assert_array_equal(drawn[:, 8:], plain[:, 8:])
    np.testing.assert_array_equal(drawn[3, 4], plain[3, 4])
    assert drawn[0, 0, 0] > ground[0, 0, 0], "paler"


def test_a_place_is_shown_at_its_own_pixels_and_beyond_the_product(card, tmp_path):
    plan = plan_job(pixel_job(days(tmp_path, classes=True), card, tmp_path / "out", rows=(0, SIDE), cols=(0, SIDE)))
    extent = plan.raster.product_grid.extent
    inside = PixelBox.at(extent.row_start + 10, extent.col_start + 29, shape=(7, 7))
    above = PixelBox.at(extent.row_start - 4, extent.col_start + 10, shape=(7, 7))
    away = PixelBox.at(extent.row_start - 9000, extent.col_start, shape=(7, 7))
    dates, pictures = place_pictures(plan, Access(), [inside, above, away], max_size=7)
    (at_border,), (half,), (nothing,) = pictures
    assert len(dates) == 1
    assert at_border[:, :3].max() < 128
    assert at_border[:, 3:].min() > 250
    assert (half[:4].max(), half[4:].min() > 0) == (0, True)
    assert nothing is None
