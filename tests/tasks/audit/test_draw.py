"""Drawn pixels: the same in every cut, each as likely as the design says, and ordered so that one may stop early."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from tests.support.finished import some_map
from tests.support.sampled import by_class, product_layers
from tilewright.tasks.audit.design.draw import draw_random, draw_systematic, labelling_order
from tilewright.tasks.audit.design.estimate import DesignError
from tilewright.tasks.audit.design.population import Population, class_sizes, count_strata
from tilewright.tasks.audit.design.spacing import pool_sizes, spaced
from tilewright.tasks.audit.design.strata import class_strata, confidence_strata, no_strata, zone_strata
from tilewright.tasks.zones.layers import ProductLayer

CORNER = (-1030, 2040)
"""Where the corners of four tiles meet inside the maps."""


def places(drawn):
    return list(zip(drawn.rows.tolist(), drawn.cols.tolist(), drawn.stratum.tolist(), strict=True))


@pytest.fixture(scope="module")
def mapped():
    return some_map(4)


@pytest.fixture
def population(tmp_path, mapped):
    return by_class(product_layers(tmp_path, mapped, corner=CORNER))


def test_strata_are_counted_and_nodata_is_in_none(population, mapped):
    sizes = count_strata(population)
    assert sizes.names == ("land", "water", "forest")
    assert sizes.n_pixels.tolist() == [int((mapped == value).sum()) for value in range(3)]
    assert sizes.n_outside == 0
    assert class_sizes(population.product, population.layer) == dict(enumerate(sizes.n_pixels.tolist()))


def test_a_value_that_the_product_does_not_list_is_a_stratum(tmp_path, mapped):
    mapped = np.where(mapped == 2, 7, mapped).astype(np.uint8)
    assert count_strata(by_class(product_layers(tmp_path, mapped))).names == ("land", "water", "value 7")


def test_the_mean_confidence_of_a_stratum_leaves_out_what_has_none(tmp_path):
    values = np.array([[0, 0, 1, 255]], dtype=np.uint8)
    confidence = np.array([[80, 255, 60, 90]], dtype=np.uint8)
    assert count_strata(by_class(product_layers(tmp_path, values, confidence))).accuracy.tolist() == [0.8, 0.6]


@pytest.mark.parametrize("draw", [draw_random, draw_systematic])
def test_the_same_pixels_are_drawn_from_every_cut(tmp_path, mapped, draw):
    found = []
    for chunk in (32, 64, 150):
        population = by_class(product_layers(tmp_path / str(chunk), mapped, corner=CORNER, chunk=chunk))
        sizes = count_strata(population)
        found.append(draw(population, sizes, np.array([40, 30, 20]), seed=3))
    assert places(found[0]) == places(found[1]) == places(found[2])
    assert [each.hashes.tolist() for each in found] == [found[0].hashes.tolist()] * 3


def test_pixels_are_drawn_once_from_their_stratum_and_are_observed(population, mapped):
    drawn = draw_random(population, count_strata(population), np.array([40, 30, 20]), seed=1)
    assert np.bincount(drawn.stratum).tolist() == [40, 30, 20]
    assert len(set(places(drawn))) == 90
    assert (mapped[drawn.rows - CORNER[0], drawn.cols - CORNER[1]] == drawn.stratum).all()


@pytest.mark.parametrize("draw", [draw_random, draw_systematic])
def test_without_strata_nodata_is_never_drawn(population, mapped, draw):
    whole = Population(product=population.product, layer=population.layer, strata=no_strata())
    sizes = count_strata(whole)
    assert sizes.n_pixels.tolist() == [int((mapped != 255).sum())]
    drawn = draw(whole, sizes, np.array([500]), seed=1)
    assert (mapped[drawn.rows - CORNER[0], drawn.cols - CORNER[1]] != 255).all()


def test_another_seed_draws_others(population):
    sizes = count_strata(population)
    first, second = (set(places(draw_random(population, sizes, np.array([40, 30, 20]), seed=seed))) for seed in (1, 2))
    assert len(first & second) < 10


def test_a_larger_sample_holds_the_smaller_one(population):
    sizes = count_strata(population)
    small, large = (draw_random(population, sizes, np.array([n, n, n]), seed=1) for n in (10, 30))
    assert set(places(small)) < set(places(large))


def test_a_part_of_the_product_draws_what_the_whole_would_of_it(tmp_path, mapped):
    """Of a product cut smaller the same pixels have the smallest hashes, as far as they are in it."""
    whole, part = (
        by_class(product_layers(tmp_path / name, values, corner=corner))
        for name, values, corner in (
            ("whole", mapped, CORNER), ("part", mapped[20:90, 30:160], (CORNER[0] + 20, CORNER[1] + 30)),
        )
    )  # fmt: skip
    drawn, inner = (draw_random(each, count_strata(each), np.full(3, 100), seed=1) for each in (whole, part))
    inside = {place for place in places(drawn) if 20 <= place[0] - CORNER[0] < 90 and 30 <= place[1] - CORNER[1] < 160}
    assert inside
    assert inside <= set(places(inner))


def test_all_pixels_can_be_drawn(population):
    sizes = count_strata(population)
    drawn = draw_random(population, sizes, sizes.n_pixels, seed=1)
    assert len(set(places(drawn))) == sizes.n_pixels.sum()


def test_every_pixel_is_drawn_as_often_as_its_probability_says(tmp_path):
    values = np.repeat(np.array([[0, 0, 1]], dtype=np.uint8), 4, axis=0)
    population = by_class(product_layers(tmp_path, values, corner=(-2, -1)))
    sizes, counts = count_strata(population), np.zeros((4, 3))
    for seed in range(400):
        drawn = draw_random(population, sizes, np.array([2, 1]), seed=seed)
        counts[drawn.rows + 2, drawn.cols + 1] += 1
    assert np.abs(counts / 400 - 0.25).max() < 0.09


def test_a_systematic_sample_is_a_grid_of_about_the_size_asked_for(tmp_path):
    population = by_class(product_layers(tmp_path, np.zeros((200, 300), dtype=np.uint8), corner=CORNER))
    drawn = draw_systematic(population, count_strata(population), np.array([150]), seed=5)
    rows, cols = np.unique(drawn.rows), np.unique(drawn.cols)
    assert len(rows) * len(cols) == len(drawn.rows) == 150
    assert set(np.diff(rows).tolist()) == set(np.diff(cols).tolist()) == {20}
    places_of = {
        tuple(draw_systematic(population, count_strata(population), np.array([150]), seed=s).rows[:1]) for s in range(9)
    }
    assert len(places_of) > 3


def test_a_spacing_that_is_no_whole_number_meets_every_row_as_often(tmp_path):
    population = by_class(product_layers(tmp_path, np.zeros((64, 64), dtype=np.uint8), corner=(0, 0)))
    sizes, counts = count_strata(population), np.zeros(64)
    for seed in range(300):
        counts += np.bincount(draw_systematic(population, sizes, np.array([600]), seed=seed).rows, minlength=64)
    assert counts.sum() / 300 == pytest.approx(600, rel=0.01)
    assert counts.min() > 0.7 * counts.mean()


def test_any_beginning_of_the_order_has_every_stratum_by_its_share(population):
    drawn = draw_random(population, count_strata(population), np.array([60, 30, 10]), seed=1)
    ordered = drawn.taken(labelling_order(drawn))
    for n in (10, 20, 50, 90):
        assert np.abs(np.bincount(ordered.stratum[:n], minlength=3) - n * np.array([0.6, 0.3, 0.1])).max() <= 1
    for stratum in range(3):
        assert (np.diff(ordered.hashes[ordered.stratum == stratum].astype(float)) > 0).all()


def test_places_keep_their_distance_on_the_ground(population):
    grid, sizes, wanted = population.product.grid, count_strata(population), np.array([30, 20, 10])
    drawn = draw_random(population, sizes, pool_sizes(wanted, sizes.n_pixels), seed=1)
    kept = spaced(drawn, wanted, grid, metres=120.0, names=sizes.names)
    assert np.bincount(kept.stratum).tolist() == [30, 20, 10]
    points = np.stack([kept.rows, kept.cols], axis=1) * 10.0
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    assert apart.min() >= 119.9
    with pytest.raises(DesignError, match=r"Of the stratum .* lie 700 m from all others"):
        spaced(drawn, wanted, grid, metres=700.0, names=sizes.names)


def test_distances_are_metres_in_a_grid_of_degrees(tmp_path):
    """At 60 degrees north a pixel is half as wide as high."""
    product = product_layers(
        tmp_path, np.zeros((40, 40), dtype=np.uint8), crs="EPSG:4326", resolution=0.001, corner=(-60_000, 10_000)
    )
    population = by_class(product)
    sizes, wanted = count_strata(population), np.array([25])
    drawn = draw_random(population, sizes, pool_sizes(wanted, sizes.n_pixels), seed=1)
    kept = spaced(drawn, wanted, product.grid, metres=300.0, names=sizes.names)
    down, across = (np.abs(each[:, None] - each[None]) for each in (kept.rows, kept.cols))
    apart = np.hypot(down * 111.4, across * 55.8)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() >= 299
    assert (across[down == 0] < 6).any() or apart.min() < 400


def test_bands_of_confidence_and_zones_are_strata(tmp_path):
    values = np.zeros((2, 4), dtype=np.uint8)
    confidence = np.array([[49, 50, 70, 90], [100, 255, 89, 0]], dtype=np.uint8)
    product = product_layers(tmp_path, values, confidence, corner=(0, 0))
    layer, sure = product.layers
    found = count_strata(Population(product=product, layer=layer, strata=confidence_strata(product, sure)))
    assert dict(zip(found.names, found.n_pixels.tolist(), strict=True)) == {
        "confidence 0 to 50 %": 2, "confidence 50 to 70 %": 1, "confidence 70 to 90 %": 2, "confidence 90 to 100 %": 2,
    }  # fmt: skip
    assert found.n_outside == 1
    zones = np.array([shapely.box(0, -2, 2.4, 0), shapely.box(1, -2, 3.6, 0), None], dtype=object)
    found = count_strata(Population(product=product, layer=layer, strata=zone_strata(product, zones, ["a", "b", "c"])))
    assert dict(zip(found.names, found.n_pixels.tolist(), strict=True)) == {"a": 4, "b": 4}


def test_a_layer_of_values_has_no_classes_as_strata(tmp_path):
    product = product_layers(tmp_path, np.zeros((2, 2), dtype=np.uint8))
    layer = ProductLayer(name="height", classes=(), array=product.layers[0].array, nodata=255)
    with pytest.raises(DesignError, match="The layer height has no classes to be strata"):
        class_strata(layer)
    whole = Population(product=product, layer=layer, strata=no_strata())
    assert count_strata(whole).names == ("all",)
