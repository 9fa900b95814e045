"""What is told of rounding: errors, bytes and PSNR as numpy has them, in any order of blocks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tilewright.tasks.lossy.rounding import rounded
from tilewright.tasks.lossy.tally import LossTally, compressed_size, joined_tallies, loss_json, tally_of


@pytest.fixture
def exact() -> np.ndarray:
    made = np.random.default_rng(3).uniform(-1, 1, (600, 520)).astype(np.float32)
    made[:5] = np.nan
    return made


def test_a_tally_says_what_numpy_says(exact):
    stored = rounded(exact, most=0.01)
    tally, off = tally_of(exact, stored), (stored - exact.astype(np.float64))[5:]
    assert tally.values == off.size
    assert tally.greatest == np.abs(off).max() <= 0.01
    assert tally.squares == pytest.approx((off**2).sum())
    assert (tally.bytes_exact, tally.bytes_stored) == (compressed_size(exact), compressed_size(stored))
    assert tally.bytes_stored < 0.5 * tally.bytes_exact


def test_a_block_without_a_value_has_an_empty_tally():
    nothing = np.full((8, 8), np.nan, np.float32)
    tally = tally_of(nothing, nothing)
    assert (tally.values, tally.squares, tally.greatest) == (0, 0.0, 0.0)


def test_joined_tallies_are_the_same_in_any_order(exact):
    parts = [tally_of(rows, rounded(rows, most=0.01)) for rows in np.array_split(exact, 7)]
    whole, reverse = joined_tallies(parts), joined_tallies(parts[::-1])
    assert whole == reverse
    assert whole.squares == pytest.approx(tally_of(exact, rounded(exact, most=0.01)).squares)
    assert joined_tallies([]) == LossTally()


def test_a_tally_of_the_ledger_is_itself_and_what_is_missing_counts_as_nothing():
    tally = LossTally(values=4, squares=0.5, greatest=0.25, bytes_exact=9, bytes_stored=3)
    assert LossTally.from_json(tally.to_json()) == tally
    assert LossTally.from_json({"values": 4, "strange": 1}) == LossTally(values=4)


def told(losses, statistics, most=0.5):
    entries = [SimpleNamespace(losses=each) for each in losses]
    return loss_json(SimpleNamespace(losses={"ndvi": most}), entries, {"ndvi": statistics})["loss"]["ndvi"]


def test_psnr_is_the_peak_over_the_mean_error():
    tally = LossTally(values=100, squares=1.0, greatest=0.2, bytes_exact=50, bytes_stored=20).to_json()
    found = told([{"ndvi": tally}, {"ndvi": tally}, {}], SimpleNamespace(minimum=-1.0, maximum=1.0))
    # 10 log10(2**2 / (2 / 200)) = 10 log10(400)
    assert found["psnr"] == pytest.approx(10 * np.log10(400))
    assert (found["allowed"], found["max_error"], found["bytes_saved"], found["bytes_exact"]) == (0.5, 0.2, 60, 100)


@pytest.mark.parametrize(
    ("tally", "statistics"),
    [
        (LossTally(values=4), SimpleNamespace(minimum=0.0, maximum=1.0)),
        (LossTally(values=4, squares=1.0), SimpleNamespace(minimum=1.0, maximum=1.0)),
        (LossTally(), None),
    ],
    ids=["nothing lost", "one value", "no value"],
)
def test_there_is_no_psnr_where_nothing_is_lost_or_differs(tally, statistics):
    assert told([{"ndvi": tally.to_json()}], statistics)["psnr"] is None


def test_a_product_without_losses_tells_of_none():
    assert loss_json(SimpleNamespace(losses={}), [], {}) == {}
