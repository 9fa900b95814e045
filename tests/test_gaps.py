from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from tasks.gaps import fill_gaps

MIDDLES = [datetime(2023, 1, day, tzinfo=UTC) for day in (1, 2, 4, 8)]
NAN = np.nan


def filled(rule: str, *values: float) -> list[float]:
    steps = np.array(values, np.float32).reshape(-1, 1, 1, 1)
    return fill_gaps(steps, MIDDLES, rule=rule)[:, 0, 0, 0].tolist()


def test_leave_leaves() -> None:
    assert np.array_equal(filled("leave", 1, NAN, NAN, 8), [1, NAN, NAN, 8], equal_nan=True)


def test_carry_takes_the_nearest_date_and_the_earlier_of_two_alike() -> None:
    assert filled("carry", 1, NAN, NAN, 8) == [1, 1, 1, 8]
    assert filled("carry", 1, NAN, 4, NAN) == [1, 1, 4, 4]
    assert filled("carry", NAN, NAN, 4, 8) == [4, 4, 4, 8]


def test_interpolation_follows_the_days_between() -> None:
    assert filled("interpolate", 1, NAN, NAN, 8) == [1, 2, 4, 8]
    assert filled("interpolate", NAN, 2, NAN, NAN) == [2, 2, 2, 2]


def test_a_pixel_never_seen_stays_missing() -> None:
    for rule in ("leave", "carry", "interpolate"):
        assert np.isnan(filled(rule, NAN, NAN, NAN, NAN)).all()


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="gap rule 'guess' is not known"):
        filled("guess", 1, 2, 3, 4)
