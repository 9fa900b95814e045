"""Intervals of 95 % hold the truth in 95 of 100 samples: 2 000 are drawn from the truth of the embedded sample."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.catalogs.sample.landscape.landscape import build_landscape
from tilewright.tasks.audit.design.allocation import allocate, shares
from tilewright.tasks.audit.design.draw import smallest_hashes
from tilewright.tasks.audit.design.estimate import STRATIFIED, LabelledSample, estimate_design
from tilewright.tasks.audit.design.estimators import StratifiedRows, Z, ratio
from tilewright.tasks.audit.design.population import StrataSizes, Tile
from tilewright.tasks.grid.pixel_box import PixelBox

GROUPS = {0: "water", 1: "forest", 2: "open land"}
OF_COVER = np.array([2, 0, 1, 1, 2, 2, 2, 2])


@pytest.fixture(scope="module")
def worlds():
    """The truth, every 12th pixel, and a map of it with errors along borders and a tenth of all pixels at random."""
    truth = OF_COVER[build_landscape(7).cover(end=True)[::12, ::12]]
    random = np.random.default_rng(3)
    mapped = np.roll(truth, 1, axis=1)
    wrong = random.random(mapped.shape) < 0.1
    mapped[wrong] = random.integers(0, 3, int(wrong.sum()))
    return truth, mapped


def truths(truth, mapped):
    found = {"overall": (truth == mapped).mean()}
    for value, name in GROUPS.items():
        found["precision", name] = (truth[mapped == value] == value).mean()
        found["recall", name] = (mapped[truth == value] == value).mean()
        found["area_km2", name] = (truth == value).sum() * 1e-4
    return found


@pytest.mark.parametrize(("strata", "n_draws", "within"), [("class", 2000, 0.015), ("halves", 500, 0.03)])
def test_intervals_cover_the_truth_as_often_as_they_say(worlds, strata, n_draws, within):
    """With strata that are the map's classes, and with others, as the two papers have them.

    Within three standard errors of so many draws.
    """
    truth, mapped = worlds
    of_pixel = (
        mapped if strata == "class" else np.arange(mapped.shape[1])[None] // (mapped.shape[1] // 2 + 1) + 0 * mapped
    )
    numbers = np.unique(of_pixel)
    n_pixels = np.bincount(of_pixel.ravel())
    names = np.array([str(number) for number in numbers])
    sizes = StrataSizes(
        numbers=numbers, names=tuple(names), n_pixels=n_pixels, accuracy=np.full(len(numbers), np.nan), n_outside=0
    )
    tile = Tile(box=PixelBox.at(-540_000, 40_000, shape=mapped.shape), numbers=of_pixel.astype(np.int64))
    wanted = allocate(1200, n_pixels, shares(n_pixels, "proportional"), least=300, names=names)
    true = truths(truth, mapped)
    hits, estimates = dict.fromkeys(true, 0), {key: [] for key in true}
    for seed in range(n_draws):
        drawn = smallest_hashes([tile], sizes, wanted, seed=seed)
        rows, cols = drawn.rows - tile.box.row_start, drawn.cols - tile.box.col_start
        sample = LabelledSample(
            design=STRATIFIED,
            stratum=names[drawn.stratum],
            stratum_pixels=n_pixels[drawn.stratum],
            mapped=mapped[rows, cols],
            reference=truth[rows, cols],
            pixel_km2=np.full(len(rows), 1e-4),
        )
        found = estimate_design(sample, GROUPS)
        figures = {"overall": found["overall_accuracy"]}
        figures |= {(key, name): found["classes"][name][key] for key, name in list(true)[1:]}
        for key, figure in figures.items():
            hits[key] += figure["low"] <= true[key] <= figure["high"]
            estimates[key].append(figure["estimate"])
    covered = {key: n / n_draws for key, n in hits.items()}
    assert all(share == pytest.approx(0.95, abs=within) for share in covered.values()), covered
    for key, each in estimates.items():
        assert np.mean(each) == pytest.approx(true[key], abs=4 * np.std(each) / np.sqrt(len(each)) + 0.003), key


@pytest.mark.parametrize(("n_labels", "least"), [(80, 0.925), (50, 0.91)])
def test_intervals_of_few_labels_cover_about_as_often_and_more_than_by_their_error(n_labels, least):
    """Of 50 or 80 labels a class, as people draw them; a mean over classes, since few outcomes are possible in each."""
    random = np.random.default_rng(1)
    n_pixels, right = np.array([60_000, 30_000, 10_000]), (0.9, 0.8, 0.95)
    mapped = np.repeat([0, 1, 2], n_pixels)
    truth = mapped.copy()
    for value, share in enumerate(right):
        wrong = (mapped == value) & (random.random(len(mapped)) > share)
        truth[wrong] = (value + random.integers(1, 3, int(wrong.sum()))) % 3
    first, n_draws, held, by_error = np.cumsum(n_pixels) - n_pixels, 500, [], []
    for _ in range(n_draws):
        drawn = np.concatenate(
            [start + random.choice(n, n_labels, replace=False) for start, n in zip(first, n_pixels, strict=True)]
        )
        rows, seen, said = StratifiedRows(stratum=mapped[drawn], n_pixels=n_pixels), truth[drawn], mapped[drawn]
        for value in range(3):
            hit = (seen == value) & (said == value)
            for of, actual in ((said, mapped), (seen, truth)):
                found = ratio(rows, hit * 1.0, (of == value) * 1.0)
                share = ((truth == value) & (mapped == value)).sum() / (actual == value).sum()
                held.append(found.low <= share <= found.high)
                by_error.append(abs(found.estimate - share) <= Z * found.standard_error)
    assert least <= np.mean(held) <= 0.97
    assert np.mean(held) > np.mean(by_error) + 0.01
