"""Versions that may change a pixel: named where they differ, and no two makes in one product without a word."""

from __future__ import annotations

import pytest

from tilewright.flows.versions import (
    OF_PIXELS,
    changed_versions,
    check_same_makers,
    cpu_features,
    process_facts,
    versions,
)
from tilewright.tasks.storage.errors import StoreError


def test_all_that_computes_a_pixel_here_is_among_the_versions():
    here = versions()
    assert {
        "tilewright",
        "python",
        "numpy",
        "rasterio",
        "gdal",
        "proj",
        "onnxruntime",
        "shapely",
        "zarr",
    } <= here.keys()
    assert all(version[0].isdigit() for version in here.values())


@pytest.mark.parametrize("name", sorted(set(OF_PIXELS) & versions().keys()))
def test_a_product_begun_with_another_library_is_refused_by_its_name(name):
    with pytest.raises(StoreError, match=rf"{name} 0\.0\.1 then, .*--update .*--replace"):
        check_same_makers({**versions(), name: "0.0.1"}, uri="out")


@pytest.mark.parametrize("name", ["python", "zarr", "numcodecs", "odc-stac"])
def test_a_library_that_changes_no_pixel_is_no_reason_to_refuse(name):
    check_same_makers({**versions(), name: "0.0.1"}, uri="out")


def test_an_older_plan_that_names_fewer_libraries_goes_on():
    check_same_makers({"tilewright": "0.1.0", "numpy": versions()["numpy"]}, uri="out")


def test_what_one_side_lacks_is_no_change():
    assert changed_versions({"a": "1", "b": "2"}, {"b": "3", "c": "4"}, ["a", "b", "c"]) == ["b 2 then, 3 now"]


def test_facts_of_a_process_name_the_minor_python_and_the_architecture():
    facts = process_facts()
    assert facts["python"].count(".") == 1
    assert facts["architecture"]
    assert facts["gdal"] == versions()["gdal"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 fma avx512f\n", ("avx2", "fma", "avx512f")),
        ("Features\t: fp asimd sve bf16\n", ("asimd", "sve", "bf16")),
        ("flags : sse2\n", ()),
        ("model name : none of it\n", ()),
        ("", ()),
    ],
)
def test_instruction_sets_are_read_from_the_systems_list(tmp_path, text, found):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert cpu_features(path) == found


def test_a_system_that_does_not_say_has_none(tmp_path):
    assert cpu_features(tmp_path / "missing") == ()
