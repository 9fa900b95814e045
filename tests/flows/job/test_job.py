from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.sources.registry import resolve_source
from tilewright.flows.job.areas.area import AreaError, read_area
from tilewright.flows.job.job import JobError, make_job, read_job, read_plain

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
        (
            {"polygons": {"class": {"smplify": 1}}},
            r"class.smplify: .*mean 'simplify'\?\). Known here: classes, .*simplify",
        ),
        ({"polygons": {"class": {"classes": 5}}}, "classes.0"),
        ({"period": [{"nam": "a", "start": 1}]}, r"period.0.nam: .*did you mean 'name'\?\). Known here: name"),
        ({"period": "06/2021"}, "'06/2021' is not a period: write 2021-06-01/2021-06-30"),
        ({"filter": {"max_cloud": "some"}}, r"filter.max_cloud: expected a number \(given: .some.\)"),
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


FAULTS = {
    "a bracket": ("area: [1, 2\nb: 3\n", "line 2, column 2: .*close the bracket that line 1 opens"),
    "a quote": ('name: x\nmodel: "m\nb: 3\n', "line 4, column 1: .*close the quote that line 2 opens"),
    "a quote in a text": ("a: 'it's'\n", "line 1, column 8: .*close a quote at the end of its text"),
    "a star": ("a: *.example.org\n", r"line 1, column 5: .*begins with \* or & in quotes"),
    "an unknown alias": ("a: *none\n", r"begins with \* or & in quotes"),
    "an at sign": ("a: @x\n", "line 1, column 4: .*begins with @ in quotes"),
    "a tab": ("a:\n\tb: 1\n", "line 2, column 1: .*indent with spaces, not tabs"),
    "a colon": ("a: b: c\n", "line 1, column 5: .*holds ': ' in quotes"),
    "an indentation": ("a:\n  b: 1\n c: 2\n", "line 3, column 2: .*indent the keys of one level alike"),
    "a key without a colon": ("a: 1\njust text\nb: 2\n", "line 3, column 1: .*write each key as key: value"),
    "a tag": ("a: !x 1\n", "leave the tag that begins with ! out"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2, column 1: .*keep one of the documents"),
    "bytes": (b"a: \xff\xfe\n", "save it as plain text in UTF-8"),
    "JSON": ('{"a": 1,\n "b" 2}', "line 2, column 6: .*close the bracket that line 1 opens"),
    "a key twice": ("area: 1\nb: 2\narea: 3\n", "area is written twice, in lines 1 and 3: keep one of them"),
    "a key twice within": ("a:\n  b: 1\n  'b': 2\n", "b is written twice, in lines 2 and 3"),
    "a key twice in a list": ("- {b: 1, b: 2}\n", "b is written twice, in line 1"),
    "a number twice": ("a: {1: b, 0x1: c}\n", "0x1 is written twice, in line 1"),
    "a bool twice": ("yes: 1\ntrue: 2\n", "true is written twice, in lines 1 and 2"),
    "nothing twice": ("a:\n  ~: 1\n  null: 2\n", "null is written twice, in lines 2 and 3"),
    "a key twice in JSON": ('{"area": 1,\n "area": 2}', "area is written twice, in lines 1 and 2"),
    "a key of several objects twice": ('{"a": {"b": 1}, "c": {"b": 2,\n"b": 3}}', "b is written twice: keep one"),
    "a key of strange letters twice": ('{"\u00e4\\n": 1,\n "\u00e4\\n": 2}', "is written twice, in lines 1 and 2"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_the_text_is_told_with_its_file_its_line_and_its_likely_cause(tmp_path, kind):
    written, sentence = FAULTS[kind]
    path = tmp_path / "mine.yaml"
    path.write_bytes(written if isinstance(written, bytes) else written.encode())
    with pytest.raises(JobError, match=rf"(?s)mine\.yaml is not valid YAML: .*{sentence}") as refused:
        read_job(path)
    assert "byte string" not in str(refused.value)
    with pytest.raises(CatalogError, match=f"(?s)mine.yaml is not readable YAML: .*{sentence}"):
        resolve_source("mine.yaml", base=tmp_path)


def test_a_merged_key_may_be_overwritten(tmp_path):
    (tmp_path / "job.yaml").write_text("x: &all {a: 1, b: 2}\ny:\n  <<: *all\n  b: 3\n")
    assert read_plain(tmp_path / "job.yaml")["y"] == {"a": 1, "b": 3}


OTHER_TYPES: list[tuple[dict, str]] = [
    *[({"source": value}, "source: expected a name, a path, a URL, or a desc") for value in (["a"], 5, None, {5: 1})],
    *[({"model": value}, r"model: expected one name.* ensemble: \[second\]") for value in (["a", "b"], 5, None)],
    *[({"layers": value}, r"layers: expected a list, like \[a, b\]") for value in ({"a": 1}, None, True)],
    ({"layers": [5]}, "layers.0: expected a text, in quotes"),
    ({"mask": {"drop": "x"}}, "mask.drop: expected a whole number"),
    ({"mask": {"drop": [1.5]}}, "mask.drop: expected a whole number"),
    ({"mask": {"drop": True}}, "mask.drop: expected a number, not true or false"),
    ({"mask": "scl"}, "mask: expected keys with values, such as kind, band, drop"),
    ({"filter": 5}, "filter: expected keys with values, such as max_cloud"),
    ({"grid": None}, "grid: expected keys with values, such as crs"),
    ({"tile": [1]}, "tile: expected keys with values, such as block"),
    ({"augment": 5}, "augment: expected keys with values, such as kind"),
    ({"ensemble": 5}, "ensemble: expected keys with values, such as models"),
    ({"grid": {"bounds": [1, 2, 3]}}, r"grid.bounds: expected four numbers, \[minx, miny"),
    ({"grid": {"bounds": [1, 2, 3, 4, 5]}}, "grid.bounds: expected a list of at most 4"),
    ({"grid": {"bounds": "a"}}, "grid.bounds: expected a list"),
    ({"grid": {"resolution": "x"}}, "grid.resolution: expected a number"),
    ({"grid": {"resolution": -1}}, r"grid.resolution: expected a number greater than 0 \(given: -1\)"),
    ({"grid": {"resolution": float("inf")}}, "grid.resolution: expected a finite number"),
    ({"grid": {"crs": 3035}}, "grid.crs: expected a text, in quotes"),
    ({"tile": {"block": 1.5}}, "tile.block: expected a whole number"),
    ({"tile": {"block": 99999}}, "tile.block: expected a number of at most 32768"),
    ({"cog": {"max_side": 700}}, "cog.max_side: expected a multiple of 512"),
    ({"cog": {"max_side": 0}}, r"cog.max_side: expected a number of at least 512 \(given: 0\)"),
    ({"seed": "x"}, "seed: expected a whole number"),
    ({"augment": {"spread": "maybe"}}, "augment.spread: expected true or false"),
    ({"augment": "flip"}, "augment.kind: expected 'none', 'flips', 'd4' or 'noise' .did you mean 'flips'"),
    ({"engine": "Direct"}, "engine: expected 'direct', .*did you mean 'direct'"),
    ({"name": 2021}, "name: expected a text, in quotes"),
    ({"output": ""}, "output: expected a text that is not empty"),
    ({"radiometry": True}, "radiometry: expected 'auto', 'pixels' or 'metadata'"),
    ({"mask": {"kind": "rule", "rule": ["blue > 1"] * 21}}, "mask.rule: expected a list of at most 20"),
    ({"period": [{"name": "a"}]}, r"period.0.start: the job does not say it\.$"),
    ({5: 1}, "^5: no key of a job"),
]


@pytest.mark.parametrize(("changes", "sentence"), OTHER_TYPES)
def test_a_value_of_another_type_is_refused_in_words_of_a_job(tmp_path, changes, sentence):
    with pytest.raises(JobError, match=sentence) as refused:
        make_job({**GOOD, **changes}, base=tmp_path)
    for jargon in ("tuple", "dict", "Input", "valid string", "str.", "NoneType", "keyword", "instance"):
        assert jargon not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ({"layers": "class"}, lambda made: made.layers == ("class",)),
        ({"filter": {"platforms": "sentinel-2b"}}, lambda made: made.filter.platforms == ("sentinel-2b",)),
        ({"mask": {"drop": 3}}, lambda made: made.mask.drop == (3,)),
        ({"mask": {"kind": "rule", "rule": "blue > 1"}}, lambda made: made.mask.rule == ("blue > 1",)),
        ({"ensemble": "second"}, lambda made: made.ensemble.models == ("second",)),
        *(
            ({"polygons": none}, lambda made: made.request() == make_job(GOOD, base=made.base).request())
            for none in (None, {}, [])
        ),
        ({"ensemble": {"models": "second"}}, lambda made: made.ensemble.models == ("second",)),
    ],
)
def test_one_value_alone_is_a_list_of_one(tmp_path, changes, read):
    assert read(job(tmp_path, **changes))


def test_null_on_the_command_line_takes_polygons_away(tmp_path):
    made = make_job({**GOOD, "polygons": "class"}, base=tmp_path, changes=("polygons=null",))
    assert made.polygons == {}


@pytest.mark.parametrize(
    ("written", "meant"), [("perid", "period"), ("modle", "model"), ("sorce", "source"), ("aera", "area")]
)
def test_a_misspelt_key_is_named_before_the_one_that_lacks_for_it(tmp_path, written, meant):
    plain = {**GOOD, written: GOOD[meant]}
    del plain[meant]
    with pytest.raises(JobError, match=f"^{written}: unknown key .did you mean '{meant}'"):
        make_job(plain, base=tmp_path)
