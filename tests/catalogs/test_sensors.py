"""Facts of the sensors."""

from __future__ import annotations

import pytest

from tilewright.catalogs.sensors import (
    BANDS,
    SCL_CLASSES,
    band_facts,
    band_of,
    canonical_collection,
    has_offset,
    parse_baseline,
)


@pytest.mark.parametrize(
    ("text", "baseline"),
    [
        ("05.09", "05.09"),
        ("0509", "05.09"),
        ("N0509", "05.09"),
        ("N02.12", "02.12"),
        (5.09, "05.09"),
        (4, "04.00"),
        ("", None),
        ("x", None),
        (None, None),
        (True, None),
        ("5.9.1", None),
    ],
)
def test_baselines_are_read_however_they_are_written(text: object, baseline: str | None) -> None:
    assert parse_baseline(text) == baseline


def test_the_offset_begins_with_baseline_four() -> None:
    assert [has_offset(baseline) for baseline in ("02.14", "03.01", "04.00", "05.11", "10.00")] == [False] * 2 + [
        True
    ] * 3


def test_names_are_unique_within_a_collection() -> None:
    for bands in BANDS.values():
        names = [name for facts in bands for name in facts.names]
        assert len(names) == len(set(names))


def test_a_key_may_carry_its_resolution() -> None:
    found = band_of("sentinel-2-l2a", "B05_60m")
    assert found is not None
    assert (found[0].band, found[1]) == ("rededge071", 60.0)
    assert band_of("sentinel-2-l2a", "red-jp2") is None
    assert band_of("sentinel-2-l2a", "") is None


def test_well_known_names_of_collections_are_ours() -> None:
    assert canonical_collection("sentinel-s2-l2a-cogs") == "sentinel-2-l2a"
    assert canonical_collection("cop-dem-glo-30-dged-cog") == "dem"
    assert canonical_collection("my-own") == "my-own"


def test_scl_has_twelve_classes_and_is_a_class() -> None:
    assert sorted(SCL_CLASSES) == list(range(12))
    facts = band_facts("sentinel-2-l2a", "scl")
    assert facts is not None
    assert facts.categorical
