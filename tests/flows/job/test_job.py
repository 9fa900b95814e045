from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tilewright.flows.job.area import AreaError, read_area
from tilewright.flows.job.job import JobError, make_job, read_job

GOOD = {"area": [13.1, 48.2, 13.2, 48.3], "period": "2021-06-01/2021-06-30", "source": "s", "model": "m"}
BOWTIE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}


def job(tmp_path, **changes):
    return make_job({**GOOD, **changes}, base=tmp_path)


def test_both_ends_of_a_period_are_in_it(tmp_path):
    period = job(tmp_path).period[0]
    assert period.start == datetime(2021, 6, 1, tzinfo=UTC)
    assert period.end == datetime(2021, 6, 30, 23, 59, 59, 999999, tzinfo=UTC)
    assert period.text == "2021-06-01/2021-06-30"


def test_named_periods_and_single_days_and_months(tmp_path):
    periods = job(tmp_path, period={"before": "2021-06-17", "after": "2021-09/2021-10"}).period
    assert [(p.name, p.text) for p in periods] == [
        ("before", "2021-06-17/2021-06-17"),
        ("after", "2021-09-01/2021-10-31"),
    ]


def test_changes_are_applied_before_the_check(tmp_path):
    made = make_job(GOOD, base=tmp_path, changes=("grid.resolution=20", "tile.block=1024", "name=x"), output="o")
    assert (made.grid.resolution, made.tile.block, made.name, made.output) == (20, 1024, "x", "o")


@pytest.mark.parametrize("change", ["output=", "grid.resolution", "=3", "name= "])
def test_a_change_without_a_key_or_a_value_is_refused(change):
    with pytest.raises(JobError, match="expected key=value"):
        make_job(GOOD, base=Path(), changes=(change,))


@pytest.mark.parametrize("change", ["grid.resolution={", "name=[", "name=!!python/name:os.system"])
def test_a_change_whose_value_is_no_yaml_is_refused(change):
    with pytest.raises(JobError, match="the value is not valid YAML"):
        make_job(GOOD, base=Path(), changes=(change,))


@pytest.mark.parametrize("day", ["2021-06-31", "2021-02-29", "2021-13-01"])
def test_a_day_that_is_none_is_told_as_a_period(tmp_path, day):
    """YAML reads days as dates of its own, and would blame itself."""
    with pytest.raises(JobError, match=f"period: '{day}' is not a period"):
        make_job(GOOD, base=tmp_path, changes=(f"period={day}",))
    (tmp_path / "job.yaml").write_text(f"area: [13.1, 48.2, 13.2, 48.3]\nperiod: {day}\nsource: s\nmodel: m\n")
    with pytest.raises(JobError, match=f"period: '{day}' is not a period"):
        read_job(tmp_path / "job.yaml")


def test_keys_that_do_not_fit_each_other_are_told_without_the_whole_job(tmp_path):
    with pytest.raises(JobError, match=r"are the same period\.$"):
        job(tmp_path, period={"before": "2021-09", "after": "2021-06"})


def test_paths_are_relative_to_the_job_file(tmp_path):
    outline = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [
        [[0, 0], [1, 0], [1, 1], [0, 0]]]}}  # fmt: skip
    (tmp_path / "area.geojson").write_text(json.dumps(outline))
    (tmp_path / "job.yaml").write_text("area: area.geojson\nperiod: 2021-06-01\nsource: s\nmodel: m\n")
    made = read_job(tmp_path / "job.yaml")
    assert made.area.geometry.area == pytest.approx(0.5)
    assert made.base == tmp_path


def test_what_does_not_change_pixels_is_not_part_of_the_request(tmp_path):
    one = job(tmp_path, output="a", tolerance={"failed_reads": 3}).request()
    assert one == job(tmp_path, output="b").request()
    assert one != job(tmp_path, radiometry="pixels").request()
    json.dumps(one)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"period": "2021-06-30/2021-06-01"}, "ends before it starts"),
        ({"period": "soon"}, "is not a period"),
        ({"area": [1, 2, 3]}, "four numbers"),
        ({"area": [1, 2, 1, 3]}, "is empty"),
        ({"area": [1, 2, 400, 3]}, "leaves the globe"),
        ({"area": [1, 5, 2, 3]}, "is empty"),
        ({"area": "missing.geojson"}, "cannot be read"),
        ({"area": BOWTIE}, "not valid"),
        ({"area": {"type": "Point", "coordinates": [0, 0]}}, "has no area"),
        ({"area": {"type": "FeatureCollection", "features": [{}]}}, "cannot be read"),
        ({"name": "../x"}, "name: letters"),
        ({"grids": {}}, r"unknown key \(did you mean 'grid'\?\). Known here: name"),
        ({"grid": {"res": 1}}, r"did you mean 'resolution'\?\). Known here: crs, resolution, bounds"),
        ({"Xyz": {}}, "Xyz: unknown key. Known here: name"),
        ({"period": "06/2021"}, "'06/2021' is not a period: write 2021-06-01/2021-06-30"),
        ({"filter": {"max_cloud": "some"}}, r"filter.max_cloud: expected a valid number \(given: .some.\)"),
        ({"output": ""}, "output"),
        ({"tile": {"block": 0}}, "tile.block"),
        ({"grid": {"resolution": float("inf")}}, "grid.resolution"),
        ({"engine": "gdal"}, "'odc' or 'stackstac'"),
        ({"source": None}, "source"),
    ],
)
def test_a_wrong_job_is_refused_by_field(tmp_path, changes, sentence):
    with pytest.raises(JobError, match=sentence):
        job(tmp_path, **changes)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(JobError, match="model: the job does not say it"):
        make_job({key: value for key, value in GOOD.items() if key != "model"}, base=tmp_path)


def test_what_is_not_a_job_file_is_refused(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "evil.yaml").write_text("!!python/object/apply:os.system ['true']")
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    for name, sentence in (
        ("none.yaml", "cannot be read"),
        ("list.yaml", "no mapping"),
        ("broken.yaml", "not valid YAML"),
        ("evil.yaml", "not valid YAML"),
        ("bytes.yaml", "not valid YAML"),
    ):
        with pytest.raises(JobError, match=sentence):
            read_job(tmp_path / name)


def test_a_box_with_minx_beyond_maxx_crosses_the_antimeridian():
    area = read_area([179, -17, -178, -16])
    assert area.geometry.geom_type == "MultiPolygon"
    assert area.geometry.area == pytest.approx(3)
    assert area.bbox == (179, -17, -178, -16)
    assert read_area([178, -17, 180, -16]).bbox == (178, -17, 180, -16)


def test_geojson_beyond_the_globe_is_refused():
    with pytest.raises(AreaError, match="leaves the globe"):
        read_area({"type": "Polygon", "coordinates": [[[170, 0], [190, 0], [190, 1], [170, 0]]]})
