"""Documents that once got through a border, each with its neighbours: refused in one sentence, in a moment."""

# ruff: noqa: E501 -- tables of hostile values read better in long lines
from __future__ import annotations

import json
import time
from copy import deepcopy

import onnx
import pytest

from tests.adversary.fuzz import fault_of
from tests.adversary.mutations import Raw, at, places, replaced, written
from tests.adversary.readers import READERS
from tilewright.catalogs.sources.plain import load_plain

JOB, ITEM, CARD = "job-json", "item", "card"

FOUND = {
    "a band that is a list": ("files", ("source", "files", 0, "band"), [[1], [["nir"]], {"a": [1]}]),
    "a collection that is no name": ("files", ("source", "files", 0, "collection"), [[1], {"a": 1}, 5, True]),
    "a name that no file system holds": (JOB, ("model",), ["x" * 300, "x" * 70_000, "a/" * 5000, "-" * 3000]),
    "a source that no file system holds": (JOB, ("source",), ["x" * 300, "x" * 70_000, "a/" * 5000]),
    "a file that cannot be read": (JOB, ("model",), ["/proc/self/mem", "/dev/zero", "/dev/stdin", "/proc", "/"]),
    "an area that never ends": (JOB, ("area",), ["/dev/zero", "/dev/stdin", "/proc/self/mem", "/dev/full", "/dev/fd/0"]),
    "an address that is none": (JOB, ("model",), ["http://[::1", "s3://", "http://", "https://a:b:c/", "http://\ud800/"]),
    "a source of no address": (JOB, ("source",), ["http://[::1", "s3://[", "http://\ud800/", "https://a:b:c/", "http://"]),
    "a CRS that pyproj falls over": (JOB, ("grid", "crs"), ["\ud800", '{"a":' * 20_000, "PROJCS[" * 3000, "\0", "a" * 10**6]),
    "an outline's CRS": ("area-text", ("crs", "properties", "name"), ["\ud800", '{"a":' * 20_000, "+proj=", "\0", "[" * 9]),
    "numbers of thousands of digits": (JOB, ("seed",), [Raw("9" * 5000), 10**400, -(10**4000), Raw("1e400"), Raw("NaN")]),
    "nests": (JOB, ("source",), [Raw("[" * n + "]" * n) for n in (51, 200, 2000, 100_000)] + [Raw("[" * 300)]),
    "an Item of no type": (ITEM, ("type",), [[], {}, [[]], 1, Raw("9" * 5000)]),
    "an Item of many digits": (ITEM, ("collection",), [Raw("9" * 5000), 10**400, [], {}, 0.5]),
    "a collection of no geometries": ("area-text", ("features", 2, "geometry", "geometries"), [1, True, "ab", {"a": 1}, None]),
    "an href that no file system holds": (CARD, ("assets", "model", "href"), ["x" * 300, "a/" * 9000, "\ud800", "a\0", "./" * 300]),
}  # fmt: skip

ALIASES = {
    "a bomb of lists": "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "a bomb of merges": "a: &a {k: 1}\n" + "".join(f"{b}: &{b} {{<<: [{','.join(['*' + a] * 30)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "a list of itself": "a: &a [*a, *a]\n",
    "a mapping of itself": "a: &a {b: *a}\n",
    "a key of itself": "? &a {b: *a}\n: 1\n",
    "a merge of itself": "<<: &a {<<: *a}\n",
    "a nest of blocks": "- " * 5000,
    "a nest of keys": "? " * 5000,
    "a nest of flows": "{a: " * 100_000,
    "closed nests": "[" * 3000 + "]" * 3000,
    "a million values": "- a\n" * 10**6,
    "sixties": "seed: 1" + ":59" * 3000,
    "many bits": "seed: 0x" + "f" * 100_000,
    "a character beyond all": 'name: "\\UFFFFFFFF"',
    "half a character": 'name: "\\ud800"',
    "an object of Python": "name: !!python/object/apply:os.system ['true']",
}  # fmt: skip

BLANKS = {
    "blanks": " " * 200_000,
    "blanks after SRID": "SRID=3035;" + " " * 200_000,
    "blanks before a point": "POLYGON" + " " * 200_000 + "x",
    "blanks at the end": "POLYGON((0 0,1 0,1 1,0 0))" + " " * 200_000 + "x",
    "brackets": "POLYGON" + "(" * 200_000,
    "closing brackets": "POLYGON(" + ")" * 200_000 + "x",
    "an SRID of digits": "SRID=" + "9" * 200_000 + ";POLYGON((0 0,1 0,1 1,0 0))",
    "digits": "1" * 200_000 + "x,1,1,1",
}  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader by its name, made once."""
    made = {}

    def named(name):
        if name not in made:
            made[name] = READERS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return named


def judged(reader, document):
    began = time.perf_counter()
    answer = reader.answer(document)
    assert fault_of(answer, time.perf_counter() - began, (2,)) is None


@pytest.mark.parametrize("kind", FOUND)
def test_what_once_got_through_is_refused_with_its_neighbours(kind, reader):
    name, place, values = FOUND[kind]
    good = reader(name).good
    content = good[1] if isinstance(good, tuple) else good
    for value in values:
        document = written(replaced(json.loads(content), place, deepcopy(value))).encode("utf-8", "surrogatepass")
        judged(reader(name), (good[0], document) if isinstance(good, tuple) else document)


@pytest.mark.parametrize("kind", ALIASES)
def test_yaml_that_grows_or_nests_without_end_is_refused_in_a_moment(kind):
    began = time.process_time()
    with pytest.raises(ValueError, match=r"alias|nests|values|digits|constructor|found|deep|invalid"):
        load_plain(ALIASES[kind].encode())
    assert time.process_time() - began < 2


@pytest.mark.parametrize("kind", BLANKS)
def test_an_area_of_blanks_and_brackets_is_refused_in_a_moment(kind, reader):
    judged(reader("area-text"), (".wkt", BLANKS[kind].encode()))
    judged(reader(JOB), written({**json.loads(reader(JOB).good), "area": BLANKS[kind]}).encode())


@pytest.mark.parametrize("numeral", ["", "-1", "abc", "1e3", "9" * 5000, "\u0663", " 1", "1_0", "0x10"])
@pytest.mark.parametrize("key", ["offset", "length"])
def test_a_place_of_outside_weights_that_is_no_number_is_refused(key, numeral, reader):
    model = onnx.load_model_from_string(reader("graph").good)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for name, value in (("location", "weights.bin"), (key, numeral)):
        entry = tensor.external_data.add()
        entry.key, entry.value = name, value
    judged(reader("graph"), model.SerializeToString())


@pytest.mark.parametrize("fault", ["dims", "type", "outside", "missing"])
def test_a_dropout_whose_switch_cannot_be_read_is_refused(fault, reader):
    model = onnx.load_model_from_string(reader("graph").good)
    switch = onnx.helper.make_tensor("switch", onnx.TensorProto.BOOL, [], [False])
    if fault == "dims":
        switch.dims[:] = [7, 2**40]
    elif fault == "type":
        switch.data_type = 0
    elif fault == "outside":
        switch.data_location = onnx.TensorProto.EXTERNAL
    if fault != "missing":
        model.graph.initializer.append(switch)
    model.graph.node[1].op_type, model.graph.node[1].input[:] = "Dropout", [model.graph.node[1].input[0], "", "switch"]
    judged(reader("graph"), model.SerializeToString())


@pytest.mark.parametrize(
    "code", ["\ud800", Raw("[" * 900 + "]" * 900), "+proj=ob_tran", '{"a":' * 5000, "\0", "EPSG:" + "9" * 5000]
)
@pytest.mark.parametrize("key", ["proj:code", "proj:wkt2", "proj:projjson", "proj:epsg"])
def test_a_crs_of_an_item_that_is_none_is_read_from_the_file(key, code, reader):
    document = json.loads(reader(ITEM).good)
    for asset in document["assets"].values():
        del asset["proj:code"]
        asset[key] = code
    del document["properties"]["proj:code"]
    answer = reader(ITEM).answer(written(document).encode("utf-8", "surrogatepass"))
    assert fault_of(answer, 0, (0, 2)) is None


@pytest.mark.parametrize(
    "name", [b"Conv", b"Relu", b"n0", b"w0", b"tests", b"dilations", b"widthb", b"\x01x", b"\x01y"]
)
def test_names_of_a_graph_that_are_no_text_are_refused_or_never_read(name, reader):
    good = reader("graph").good
    assert name in good
    answer = reader("graph").answer(good.replace(name, name[:-1] + b"\xff"))
    assert fault_of(answer, 0, (0, 2)) is None
    answer = reader("graph").answer(good.replace(name, name[:-1] + b"\xff", 1))
    assert fault_of(answer, 0, (0, 2)) is None


def test_a_graph_that_draws_into_nothing_is_refused(reader):
    for outputs in ([], ["", ""], ["x" * 70_000]):
        model = onnx.load_model_from_string(reader("graph").good)
        model.graph.node[0].op_type, model.graph.node[0].output[:] = "RandomNormal", outputs
        judged(reader("graph"), model.SerializeToString())


WRONG = ("x", [], {"a": []}, None, float("inf"))


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_record_of_a_product_with_a_value_of_another_type_ends_in_words(number, reader):
    product = reader("product")
    whole = product.folder / "whole"
    names = [
        ".tilewright/cogs/class.tif.json",
        next(whole.glob(".tilewright/ledger/-*.json")).relative_to(whole),
        "collection.json",
    ]
    for name in map(str, names):
        good = json.loads((whole / name).read_text())
        for turn, place in enumerate(place for place in places(good)[1:] if len(place) == 1):
            # Each value has its turn at another place, so that each place gets one.
            value = WRONG[(turn + number) % len(WRONG)]
            if turn % 3 != number % 3 or isinstance(at(good, place), type(value)):
                continue
            document = written(replaced(deepcopy(good), place, value)).encode()
            answer = product.answer((name, document, "resume"))
            assert fault_of(answer, 0, (0, 1, 2)) is None, (name, place)


@pytest.mark.parametrize(
    "area",
    [
        {"type": "GeometryCollection", "geometries": [13.65]},
        {"type": "Polygon", "coordinates": [[1, 2]]},
        {"type": "Polygon", "coordinates": {"a": 1}},
        {"type": "Polygon", "coordinates": []},
        {"type": "MultiPolygon", "coordinates": [[1]]},
        {"type": "Square"},
        7,
    ],
)
def test_a_plan_whose_area_is_none_is_damaged(area, reader):
    product = reader("product")
    name = ".tilewright/plan.json"
    plan = json.loads((product.folder / "whole" / name).read_text())
    answer = product.answer((name, written({**plan, "area": area}).encode(), "resume"))
    assert fault_of(answer, 0, (0, 1, 2)) is None
