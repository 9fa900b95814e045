"""The schema of a job gives the program's verdict on what is right, what is wrong, and what was bent by chance."""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from tilewright.flows.chain.chain import make_chain
from tilewright.flows.job.areas.area import AreaError
from tilewright.flows.job.job import JOBS, Job, JobError, make_job
from tilewright.flows.schema.job_schema import job_schema
from tilewright.flows.schema.texts import TEXTS

ROOT = Path(__file__).parents[3]

PLAIN = {"area": [13.1, 48.2, 13.2, 48.3], "period": "2021-06", "source": "earth-search", "model": "ndwi-water"}

SCHEMA = job_schema()


def job(**more):
    return {**PLAIN, **more}


def without(*keys, **more):
    return {key: value for key, value in job(**more).items() if key not in keys}


def program(plain, base):
    """True if the program takes a job or a chain."""
    try:
        make_chain(copy.deepcopy(plain), base=base) if JOBS in plain else make_job(copy.deepcopy(plain), base=base)
    except (JobError, AreaError):
        return False
    return True


def schema(plain):
    """True if the schema takes what an editor or JSON would hold of it."""
    return Draft202012Validator(SCHEMA).is_valid(json.loads(json.dumps(plain, default=str)))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    points = [
        {
            "type": "Feature",
            "properties": {"key": number, "when": "2021-06"},
            "geometry": {"type": "Point", "coordinates": [13.1 + number / 100, 48.2]},
        }
        for number in range(3)
    ]
    (folder / "points.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": points}))
    return folder


SQUARE = {"type": "Polygon", "coordinates": [[[13, 48], [13.1, 48], [13.1, 48.1], [13, 48.1], [13, 48]]]}

RIGHT = [
    job(),
    *(
        job(area=area)
        for area in (
            "13.1,48.2,13.2,48.3",
            SQUARE,
            {"type": "Feature", "properties": {}, "geometry": SQUARE},
            "POLYGON ((13 48, 13.1 48, 13.1 48.1, 13 48))",
            [179.9, -18, -179.9, -17],
        )
    ),
    *(
        job(period=period)
        for period in (
            2021,
            "2021-06-01/2021-06-30",
            "2021-06-01/..",
            "2021-W22",
            "2021-Q2",
            20210601,
            ["2021-06", "2021-07"],
            {"before": "2020", "after": "2021"},
            [{"name": "one", "start": "2021-06-01", "end": "2021-06-30"}],
        )
    ),
    without("area", places="points.geojson"),
    without("area", places={"file": "points.geojson", "id": "key", "period": "when"}),
    without("area", places="points.geojson", precision="fp32", seams=False, polygons={}, screen=None),
    without("source", sources={"sentinel-2-l2a": "earth-search", "prior": "./out/2024"}),
    job(source={"kind": "static", "href": "https://example.com/catalog.json"}),
    *(job(name=name) for name in ("a", "A-1_b.c", "x" * 128)),
    *(
        job(grid=grid)
        for grid in (
            {},
            {"crs": "EPSG:3035"},
            {"crs": "utm", "resolution": 20},
            {"resolution": 0.5},
            {"crs": "EPSG:32633", "bounds": [0, 0, 10.5, 10]},
            {"resolution": None},
        )
    ),
    *(job(tile=tile) for tile in ({"block": 512}, {"step": 256, "batch": 4}, {"block": None})),
    *(job(cog={"max_side": side}) for side in (512, 131072, None)),
    *(
        job(filter=given)
        for given in (
            {"max_cloud": 0},
            {"max_cloud": 99.5},
            {"clearest": 3},
            {"clearest": {"most": 2}},
            {"clearest": {"most": 2, "by": "pixels", "holes": "leave"}},
            {"clearest": None},
            {"orbit_state": "ascending", "relative_orbit": 22},
            {"mode": "IW"},
            {"platforms": "sentinel-2a"},
            {"platforms": ["sentinel-2a", "sentinel-2b"]},
        )
    ),
    *(
        job(mask=mask)
        for mask in (
            {},
            {"kind": "none"},
            {"kind": "scl", "drop": [3, 8]},
            {"drop": 3},
            {"dilation": 60},
            {"kind": "bits"},
            {"kind": "bits", "band": "qa_pixel"},
            {"kind": "bits", "band": "q", "drop": [63]},
            {"kind": "probability", "threshold": 30},
            {"kind": "probability", "band": "cloud"},
            {"kind": "values", "band": "b", "drop": 65535},
            {"kind": "rule", "rule": "blue > 0.25"},
            {"kind": "rule", "rule": ["blue > 0.25", "nir < 0"]},
            {"kind": "model", "model": "./clouds", "drop": ["cloud", 2], "dilation": 10},
        )
    ),
    *(
        job(screen=screen)
        for screen in (
            None,
            {"model": "m", "classes": "water"},
            {"model": "m", "classes": [1, "b"]},
            {"model": "m", "classes": 1, "resolution": 60, "least_share": 1, "otherwise": 0},
            {"model": "m", "classes": ["a"], "otherwise": "land"},
        )
    ),
    *(job(align=align) for align in (None, {"most": 30}, {"to": "before", "most": 0.5, "band": "red"})),
    *(
        job(**{key: value})
        for key, values in {
            "gaps": [None, "leave", "carry", "interpolate"],
            "engine": ["direct", "odc", "stackstac"],
            "radiometry": ["auto", "pixels", "metadata"],
            "layers": ["class", [], ["class", "confidence"]],
            "seams": [True, False],
            "loss": [{}, {"ndvi": 0.001}],
            "provider": ["auto", "cpu", "cuda", "tensorrt", "openvino"],
            "fuse": ["auto", "yes", "no", True, False],
            "precision": ["fp32", "fp16", "bf16", "int8"],
            "precision_gate": [0.995, 1, 0.999],
            "zarr_format": [2, 3],
            "seed": [0, 7],
            "verify": ["identity", "checksums"],
            "prompt": ["roads", ["roads", "rivers"], []],
            "output": [None, "out/x", "s3://bucket/x"],
            "tolerance": [{}, {"failed_reads": 3}, {"items_left_out": 0.5}],
            "limits": [{}, {"blocks": 1000000, "items": 1}, {"memory_mb": 500.5}, {"memory_mb": None}],
            "polygons": [
                None,
                [],
                {},
                "class",
                ["class", "other"],
                {"class": None},
                {"class": {"classes": "water"}},
                {
                    "class": {
                        "classes": ["water"],
                        "least_area": 10,
                        "connectivity": 8,
                        "simplify": 10.5,
                        "columns": "fiboa",
                    }
                },
            ],
            "augment": [
                "none",
                "flips",
                "d4",
                {"kind": "flips", "spread": True, "split": True},
                {},
                {"kind": "noise", "sigma": 0.01},
                {"kind": "noise", "sigma": {"red": 0.01}, "passes": 2, "seed": 5},
                {"kind": "d4", "sigma": None},
            ],
            "ensemble": ["other", ["one", "two"], {"models": ["one"], "combine": "vote", "disagreement": True}, {}],
            "classify": ["water", ["water", "forest"], {"words": ["a", "b"], "least": 0.4}, {}],
        }.items()
        for value in values
    ),
    {**without("model"), "jobs": [{"name": "one", "model": "ndwi-water"}, {"name": "two", "model": "ndwi-water"}]},
    {"output": "out", "jobs": [job(name="one")]},
]

WRONG = [
    {},
    without("area"),
    without("period"),
    without("source"),
    without("model"),
    job(places="points.geojson"),
    job(sources={"a": "b"}),
    without("source", sources={}),
    job(colour="red"),
    *(job(name=name) for name in ("", "a b", "ü", "..", "x" * 129, 7, None, "a/b")),
    *(
        job(area=area)
        for area in (
            [1, 2, 3],
            [1, 2, 3, 4, 5],
            ["1", "2", "3", "4"],
            [200, 0, 201, 1],
            [0, -91, 1, 1],
            {},
            7,
            None,
            "",
            [True, 0, 1, 1],
            {"coordinates": []},
        )
    ),
    *(
        job(period=period)
        for period in (None, [], {}, True, 2.5, "", [None], [["2021"]], {"a": None}, [{"name": "one"}])
    ),
    *(
        without("area", places=places)
        for places in ({}, {"id": "key"}, {"file": "points.geojson", "key": "x"}, 7, None, "")
    ),
    *(
        without("area", places="points.geojson", **{key: value})
        for key, value in (
            ("precision", "fp16"),
            ("seams", True),
            ("polygons", "class"),
            ("loss", {"a": 1}),
            ("tile", {"block": 5}),
            ("grid", {"bounds": [0, 0, 1, 1]}),
            ("cog", {"max_side": 512}),
            ("filter", {"clearest": 1}),
            ("align", {"most": 1}),
            ("screen", {"model": "m", "classes": 1}),
        )
    ),
    *(job(source=source) for source in ("", 7, None, [], {})),
    *(
        job(grid=grid)
        for grid in (
            None,
            [],
            {"crs": 3035},
            {"resolution": 0},
            {"resolution": -1},
            {"resolution": True},
            {"bounds": [0, 0, 1]},
            {"bounds": [0, 0, 1, 2e9]},
            {"size": 1},
        )
    ),
    *(
        job(tile=tile)
        for tile in (
            {"block": 0},
            {"block": 32769},
            {"step": 8193},
            {"batch": 1025},
            {"block": 1.5},
            {"tile": 1},
            {"block": True},
        )
    ),
    *(job(cog={"max_side": side}) for side in (511, 513, 131073, "large")),
    *(
        job(filter=given)
        for given in (
            {"max_cloud": 101},
            {"max_cloud": -1},
            {"clearest": 0},
            {"clearest": {"by": "pixels"}},
            {"orbit_state": "up"},
            {"mode": 1},
            {"platforms": [1]},
            {"clouds": 3},
        )
    ),
    *(
        job(mask=mask)
        for mask in (
            {"kind": "clouds"},
            {"kind": "scl", "band": "x"},
            {"kind": "scl", "drop": 12},
            {"kind": "scl", "drop": -1},
            {"kind": "scl", "drop": ["cloud"]},
            {"kind": "values"},
            {"kind": "values", "band": "b"},
            {"kind": "values", "band": "", "drop": 1},
            {"kind": "bits", "band": "q"},
            {"kind": "bits", "drop": 64},
            {"kind": "rule"},
            {"kind": "rule", "rule": []},
            {"kind": "model", "model": "m"},
            {"kind": "model", "drop": 1},
            {"dilation": -1},
            {"dilation": 5001},
            {"threshold": 3},
            {"kind": "none", "rule": "a > 1"},
            {"drop": [1.5]},
            {"drop": [True]},
            "scl",
        )
    ),
    *(
        job(screen=screen)
        for screen in (
            {},
            {"model": "m"},
            {"model": "", "classes": 1},
            {"model": "m", "classes": []},
            {"model": "m", "classes": 1, "least_share": 0},
            {"model": "m", "classes": 1, "x": 1},
        )
    ),
    *(job(align=align) for align in ({}, {"most": 0}, {"most": 100001}, {"most": 1, "to": 3}, 30)),
    *(
        job(**{key: value})
        for key, values in {
            "gaps": ["fill", 0],
            "engine": ["dask", None],
            "radiometry": ["on"],
            "layers": [[1], {"a": 1}, None],
            "seams": ["?", None],
            "loss": [{"a": 0}, {"a": -1}, {"a": True}, {"a": 1e31}, [1]],
            "provider": ["gpu"],
            "fuse": ["maybe", 3],
            "precision": ["fp8", 16],
            "precision_gate": [0.9, 1.1],
            "zarr_format": [1, 4],
            "seed": [1.5, None],
            "verify": ["all"],
            "prompt": [7.5, {"a": 1}],
            "output": ["", 7],
            "tolerance": [{"failed_reads": -1}, {"items_left_out": 2}, {"reads": 1}],
            "limits": [{"blocks": 0}, {"blocks": 1000001}, {"items": 0}, {"memory_mb": 0}],
            "polygons": [
                7,
                [1],
                {"class": 3},
                {"class": {"connectivity": 6}},
                {"class": {"least_area": -1}},
                {"class": {"x": 1}},
            ],
            "augment": [
                "turn",
                "noise",
                {"kind": "noise"},
                {"sigma": 0.1},
                {"kind": "flips", "sigma": 0.1},
                {"spread": True},
                {"kind": "noise", "sigma": 0.1, "passes": 1},
                {"kind": "noise", "sigma": 0.1, "passes": 65},
                {"kind": "flips", "seed": 3},
                {"kind": "noise", "sigma": 0},
            ],
            "ensemble": [
                7.5,
                {"models": [1]},
                {"models": ["a"], "combine": "best"},
                {"disagreement": True},
                {"split": True},
            ],
            "classify": [7.5, {"least": 1}, {"words": [1]}, {"least": -0.1}],
        }.items()
        for value in values
    ),
    {**PLAIN, "jobs": []},
    {**PLAIN, "jobs": [{}]},
    {**PLAIN, "jobs": "one"},
    {"jobs": [{**PLAIN, "name": "a b"}]},
]

BEYOND = [
    *(
        job(period=period)
        for period in (
            "2021-02-30",
            "2021-06-30/2021-06-01",
            {"start": "2021-06-01", "end": "2021-07-01"},
            {"before": "2021", "after": "2020"},
            "soon",
            7,
        )
    ),
    *(job(area=area) for area in ([1, 1, 1, 1], "no such file", {"type": "Point", "coordinates": [1, 1]})),
    without("area", places="missing.geojson"),
    job(grid={"bounds": [1, 1, 0, 0]}),
    job(mask={"kind": "rule", "rule": "blue >"}),
    {**PLAIN, "jobs": [{"name": "one"}, {"name": "one"}]},
]


@pytest.mark.parametrize("plain", RIGHT, ids=lambda plain: json.dumps(plain)[-60:])
def test_what_the_program_takes_the_schema_takes(plain, base):
    assert program(plain, base)
    assert schema(plain), [error.message for error in Draft202012Validator(SCHEMA).iter_errors(plain)]


@pytest.mark.parametrize("plain", WRONG, ids=lambda plain: json.dumps(plain)[-60:])
def test_what_the_program_refuses_the_schema_refuses(plain, base):
    assert not program(plain, base)
    assert not schema(plain)


@pytest.mark.parametrize("plain", BEYOND, ids=lambda plain: json.dumps(plain)[-60:])
def test_what_no_schema_can_say_is_left_to_the_program(plain, base):
    assert not program(plain, base)
    assert schema(plain)


def test_more_than_two_hundred_documents_were_judged():
    assert min(len(RIGHT), len(WRONG)) > 100


JUNK = (None, True, -1, 0, 1, 2.5, 1e9, "", "x", [], ["x"], [1], {}, {"x": 1}, [[]], {"kind": "none"}, "none", "class")


def test_nothing_that_the_program_takes_is_refused_however_it_was_bent(base):
    """A right document with one value, anywhere in it, replaced by another or left out."""
    chance, n_taken = random.Random(5), 0  # noqa: S311
    for _ in range(1500):
        plain = copy.deepcopy(chance.choice(RIGHT))
        inside = plain
        while True:
            key = chance.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            if isinstance(inside[key], (dict, list)) and inside[key] and chance.random() < 0.6:
                inside = inside[key]
                continue
            break
        if chance.random() < 0.15:
            del inside[key]
        else:
            inside[key] = copy.deepcopy(chance.choice(JUNK))
        if program(plain, base):
            n_taken += 1
            assert schema(plain), plain
    assert n_taken > 100


def test_every_key_and_option_has_its_word_and_stands_in_the_documents():
    table = (ROOT / "flows" / "README.md").read_text()
    keys = [key for key in Job.model_fields if key != "base"]
    assert {key for key in TEXTS if "." not in key} == set(keys)
    for key in TEXTS:
        first, _, option = key.rpartition(".")
        named = rf"`\.?({re.escape(key)}|{option}|{re.escape(first)}\.<\w+>\.{option})\b"
        shown = rf"`{re.escape(first)}: {{[^`]*\b{option}: "
        assert re.search(f"{named}|{shown}" if first else named, table), key
    described = SCHEMA["$defs"]["Job"]["properties"]
    assert all(value["description"] for value in described.values())
    told = json.dumps(SCHEMA["$defs"])
    assert [key for key, text in TEXTS.items() if json.dumps(text) not in told] == []


@pytest.mark.parametrize(
    "document", ["README.md", "flows/README.md", "catalogs/README.md", "models/README.md", "tasks/README.md"]
)
def test_the_jobs_of_the_documents_are_right(document):
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    jobs = [
        plain
        for block in blocks
        if isinstance(plain := yaml.safe_load(block), dict) and {"area", "model", "period"} <= {*plain}
    ]
    for plain in jobs:
        assert schema(plain), plain
