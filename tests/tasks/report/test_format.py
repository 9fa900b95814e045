from __future__ import annotations

import pytest

from tilewright.tasks.report.format import duration, figure, fixed, percent, size


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
