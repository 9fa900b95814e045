"""Collections from places of their own, and finished products as sources: whole runs, equal to what stands by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.families import COLS, FLOAT, HERE, ROWS, SIDE, VALUE, noise
from tests.support.file_server import serve
from tests.support.graphs import Draft
from tests.support.output_places import open_place
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.catalogs.errors import CatalogError
from tilewright.flows.job.job import JobError
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.plan.make import plan_job
from tilewright.flows.plan.scenes import find_scenes
from tilewright.tasks.storage.secrets import kept_of

pytestmark = pytest.mark.usefixtures("small_pictures")

OLD = {"tw:collection": "prior", "tw:unit": "class", "tw:dates": {"kind": "static"}, "tw:missing": {"fill": 9}}


def sum_card(folder, *, bands=("class",), **second):
    """total = red + 10 x the band of the second input: a class map of the prior year unless said otherwise."""
    draft = Draft()
    total = draft.node("Add", "image", draft.node("Mul", "old", draft.constant([10.0])))
    model = draft.model_many(
        [("image", FLOAT, ["batch", 1, "h", "w"]), ("old", FLOAT, ["batch", 1, "h", "w"])],
        [(total, "y", FLOAT, ["batch", 1, "oh", "ow"])],
    )
    inputs = [{"name": "image", "bands": ["red"]}, {"name": "old", "bands": list(bands), **OLD, **second}]
    return write_card(folder, model, inputs=inputs, outputs=[{"name": "y", "tw:layers": ["total"]}])


def class_card(folder, **output):
    """Class crop where red is above 0.3, with its confidence."""
    draft = Draft()
    over = draft.node("Sub", "x", draft.constant([0.3]))
    model = draft.model(draft.node("Concat", draft.node("Neg", over), over, axis=1), n_in=1, n_out=2)
    entry = {"name": "y", "classes": ["bare", "crop"], "tw:activation": "softmax", **output}
    return write_card(folder, model, inputs=[{"name": "x", "bands": ["red"]}], outputs=[entry], name="cover")


def job_of(world, card, output, **changes):
    return pixel_job(world, card, output, rows=ROWS, cols=COLS, **changes)


@pytest.fixture(scope="module")
def made_prior(tmp_path_factory):
    """The folder of a finished class map of 2022, with a hole that nobody saw."""
    home = tmp_path_factory.mktemp("prior")
    before, red = World(home / "before"), noise(3)
    red[20:40, 30:50] = np.nan
    before.add(red, "red", day="2022-06-10", unit="reflectance")
    output = home / "2022"
    run(job_of(before, class_card(home / "cover"), output, period="2022", name="cover-2022"))
    return output


@pytest.fixture
def prior(made_prior, tmp_path):
    """A copy of its own."""
    return Path(shutil.copytree(made_prior, tmp_path / "out" / "2022"))


@pytest.fixture
def now(world):
    world.add(noise(1), "red", unit="reflectance")
    return world


def test_each_collection_comes_from_its_own_place_with_the_same_pixels(world, tmp_path):
    both, other = World(tmp_path / "both"), World(tmp_path / "other")
    red, old = noise(1), np.random.default_rng(4).integers(0, 5, (SIDE, SIDE)).astype(np.uint8)
    for images, maps in ((both, both), (world, other)):
        images.add(red, "red", unit="reflectance")
        maps.add(old, "class", collection="prior", day="2020-01-01", unit="class", nodata=255)
    card = sum_card(tmp_path / "card")
    one = run(job_of(both, card, tmp_path / "a"))
    several = job_of(world, card, tmp_path / "b", sources={"optics": world.source, "prior": other.source})
    two = run(several)
    assert np.array_equal(layer(one.output, "total"), layer(two.output, "total"))
    assert np.abs(layer(two.output, "total") - (red + 10.0 * old)[HERE]).max() < 1e-5
    assert run(several).already_complete
    assert {scene.collection for scene in find_scenes(several)} == {"optics", "prior"}
    frozen = json.loads((tmp_path / "b" / ".tilewright" / "plan.json").read_text())
    assert set(frozen["source"]["sources"]) == set(frozen["request"]["sources"]) == {"optics", "prior"}
    assert set(two.report["job"]["sources"]) == {"optics", "prior"}
    assert "source" not in two.report["job"]
    assert rerun_item(str(tmp_path / "b" / "item.json"), output=str(tmp_path / "c"))["identical"]


def test_a_product_as_source_is_the_same_raster_given_by_hand(now, prior, tmp_path):
    """Card F08: its classes are kept, its hole is missing, and its Item stands among the scenes."""
    card = sum_card(tmp_path / "card")
    file = {"href": str(prior / "class.tif"), "band": "class", "unit": "class", "datetime": "2022-06-10"}
    by_hand = {"files": [{**file, "collection": "prior"}]}
    sources = {"optics": now.source}
    hand = run(job_of(now, card, tmp_path / "hand", sources={**sources, "prior": by_hand}))
    expected = layer(hand.output, "total")
    assert np.isnan(expected).any(), "where the map has a hole nothing is said"
    for number, given in enumerate((prior, prior / "collection.json", prior / "item.json")):
        made = run(job_of(now, card, tmp_path / f"made{number}", sources={**sources, "prior": str(given)}))
        assert np.array_equal(layer(made.output, "total"), expected, equal_nan=True)
        assert "cover-2022" in {row["id"] for row in made.report["scenes"]}
    links = json.loads((tmp_path / "made0" / "item.json").read_text())["links"]
    assert any(link["rel"] == "derived_from" and link["title"] == "cover-2022" for link in links)


def test_a_product_is_nearest_where_its_pixels_are_others_and_a_percentage_is_a_number(now, prior, tmp_path):
    """On a grid of 7 m no class is mixed; the confidence is 0 to 100 in a card of unit 1."""
    sources = {"optics": now.source, "prior": str(prior)}
    made = run(job_of(now, sum_card(tmp_path / "card"), tmp_path / "a", sources=sources, grid={"resolution": 7}))
    classes = np.unique(np.floor(layer(made.output, "total") / 10))
    assert set(classes[np.isfinite(classes)]) <= {0.0, 1.0}
    card = sum_card(tmp_path / "percent", bands=("confidence",), **{"tw:unit": "1"})
    made = run(job_of(now, card, tmp_path / "b", sources=sources))
    expected = noise(1)[HERE] + 10.0 * layer(prior, "confidence")
    seen = layer(prior, "confidence") != 255
    assert np.abs((layer(made.output, "total") - expected)[seen]).max() < 1e-3


def test_a_product_alone_is_the_source_of_a_job(prior, tmp_path):
    draft = Draft()
    model = draft.model(draft.node("Mul", "x", draft.constant([2.0])), n_in=1, n_out=1)
    entry = {"name": "x", "bands": ["class"], "tw:collection": "prior", "tw:unit": "class"}
    card = write_card(tmp_path / "card", model, inputs=[entry], outputs=[VALUE])
    world = World(tmp_path / "none")
    made = run(job_of(world, card, tmp_path / "a", source=str(prior), period="2022"))
    classes = layer(prior, "class").astype(np.float32)
    assert np.array_equal(layer(made.output, "value"), np.where(classes == 255, np.nan, 2 * classes), equal_nan=True)
    with pytest.raises(JobError, match=r"No scenes for input x: 2022 has none .* outside the period"):
        plan_job(job_of(world, card, tmp_path / "b", source=str(prior), period="2021"))


def test_of_a_folder_of_products_each_date_is_a_step_and_an_unfinished_one_is_told(prior, tmp_path):
    later, red = World(tmp_path / "later"), noise(8)
    later.add(red, "red", day="2023-06-10", unit="reflectance")
    card = class_card(tmp_path / "cover")
    run(job_of(later, card, tmp_path / "out" / "2023", period="2023", name="cover-2023"))
    shutil.copytree(tmp_path / "out" / "2023", tmp_path / "out" / "2024")
    (tmp_path / "out" / "2024" / "item.json").unlink()
    draft = Draft()
    before, after = (draft.node("Gather", "x", draft.constant(np.array(step)), axis=1) for step in (0, 1))
    model = draft.model(draft.node("Sub", after, before), n_in=1, n_out=1)
    model = draft.model_many(
        [("x", FLOAT, ["batch", 2, 1, "h", "w"])],
        [(draft.nodes[-1].output[0], "z", FLOAT, ["batch", 1, "oh", "ow"])],
    )
    dims = ("batch", "time", "bands", "height", "width")
    maps = {"tw:collection": "maps", "tw:unit": "class", "tw:dates": {"kind": "pair"}}
    entry = {"name": "x", "bands": ["class"], "dims": dims, **maps}
    change = write_card(tmp_path / "card", model, inputs=[entry], outputs=[{"name": "z", "tw:layers": ["value"]}])
    period = {"before": "2022", "after": "2023/2024"}
    job = job_of(later, change, tmp_path / "a", sources={"maps": str(tmp_path / "out")}, period=period)
    made = run(job)
    old, new = (layer(tmp_path / "out" / year, "class").astype(np.float32) for year in ("2022", "2023"))
    expected = np.where(old == 255, np.nan, new - old)
    seen = old != 255
    assert np.array_equal(layer(made.output, "value")[seen], expected[seen])
    assert [row["id"] for row in made.report["scenes"]] == ["cover-2022", "cover-2023"]
    assert made.report["n_items_left_out"] == 1
    assert "2024" in made.report["items_left_out"][0]["item"]


def test_layers_cut_into_several_files_are_read_by_their_parts(now, tmp_path):
    before = World(tmp_path / "before")
    before.add(noise(3, side=700), "red", day="2022-06-10", unit="reflectance")
    box = {"rows": (0, 640), "cols": (0, 640)}
    job = pixel_job(
        before, class_card(tmp_path / "cover"), tmp_path / "old", **box, period="2022", cog={"max_side": 512}
    )
    run(job)
    assert (tmp_path / "old" / "class.vrt").exists()
    card, image = sum_card(tmp_path / "card"), World(tmp_path / "image")
    image.add(noise(1, side=700), "red", unit="reflectance")
    for number, given in enumerate(("old", "old/collection.json")):
        sources = {"optics": image.source, "prior": str(tmp_path / given)}
        made = pixel_job(image, card, tmp_path / f"a{number}", rows=(100, 600), cols=(90, 610), sources=sources)
        total = layer(run(made).output, "total")
        old = (noise(3, side=700) > 0.3)[100:600, 90:610]
        assert np.abs(total - noise(1, side=700)[100:600, 90:610] - 10.0 * old).max() < 1e-5


def test_a_product_that_was_made_anew_is_another_input(now, prior, tmp_path):
    card, sources = sum_card(tmp_path / "card"), {"optics": now.source, "prior": str(prior)}
    made = run(job_of(now, card, tmp_path / "a", sources=sources, verify="checksums"))
    assert made.report["input_files"]["checksums_verified"] == 1
    with (prior / "class.tif").open("r+b") as file:
        file.seek(-40, 2)
        file.write(b"changed")
    with pytest.raises(JobError, match="is not the file that its item states"):
        plan_job(job_of(now, card, tmp_path / "b", sources=sources, verify="checksums"))


def _without(path):
    def change(prior):
        target = prior / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return change


def _cut(prior):
    content = (prior / "class.tif").read_bytes()
    (prior / "class.tif").write_bytes(content[:-1])


def _without_layers(prior):
    item = json.loads((prior / "item.json").read_text())
    item["assets"] = {key: item["assets"][key] for key in ("data", "plan")}
    (prior / "item.json").write_text(json.dumps(item))


DAMAGED = {
    "an Item": (_without("item.json"), r"sources\.prior: source '.*2022' is a product that is not finished"),
    "a layer": (_without("class.tif"), r"Input old: .*2022 holds no finished product \(no whole class\.tif\)"),
    "the end of a layer": (_cut, r"no whole class\.tif\): run its job to the end first"),
    "all layers": (_without_layers, r"no layer of it is a COG"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_product_that_lacks_something_is_refused(now, prior, tmp_path, case):
    damage, words = DAMAGED[case]
    damage(prior)
    sources = {"optics": now.source, "prior": str(prior)}
    with pytest.raises((JobError, CatalogError), match=words):
        plan_job(job_of(now, sum_card(tmp_path / "card"), tmp_path / "a", sources=sources))


def _item(change):
    def changed(prior):
        item = json.loads((prior / "item.json").read_text())
        change(item["assets"])
        (prior / "item.json").write_text(json.dumps(item))

    return changed


def _numbers(key, **numbers):
    def change(assets):
        for listed in ("bands", "raster:bands"):
            assets[key][listed][0].update(numbers)

    return _item(change)


BENT = {
    "a layer of another product": (
        "class", _item(lambda assets: assets["class"].update(href="../2021/class.tif")),
        r"the Item of .*/2022 names a layer outside of it, .*/2021/class\.tif"),
    "a file of this machine": (
        "class", _item(lambda assets: assets["class"].update(href="/etc/hostname")), "outside of it"),
    "a folder in it": ("class", _item(lambda assets: assets["class"].update(href="./more/class.tif")), "outside of it"),
    "its own other layer": (
        "class", _item(lambda assets: assets["class"].update(href="./confidence.tif")),
        r"Item cover-2022, band class: the product's Item says layer class, and its file confidence: somebody changed"),
    "nodata": ("class", _numbers("class", nodata=1), r"says nodata 1\.0, and its file 255\.0"),
    "nodata that no byte holds": ("class", _numbers("class", nodata="nan"), r"says nodata nan, and its file 255\.0"),
    "no nodata": ("class", _numbers("class", nodata=None), r"says nodata None, and its file 255\.0"),
    "nodata of no number": ("class", _numbers("class", nodata="x"), r"says nodata None, and its file 255\.0"),
    "a type": ("class", _numbers("class", data_type="int16"), r"says type int16, and its file uint8"),
    "a scale": ("confidence", _numbers("confidence", scale=0.01), r"says scale 0\.01, and its file 1\.0"),
    "an offset": ("confidence", _numbers("confidence", offset=3), r"says offset 3\.0, and its file 0\.0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BENT)
def test_a_product_whose_item_was_bent_is_refused_before_it_gives_other_values(now, prior, tmp_path, case):
    """Whether its layer is needed or not, alone or beside a whole product."""
    band, bend, words = BENT[case]
    shutil.copytree(prior, tmp_path / "several" / "2022")
    shutil.copytree(prior, tmp_path / "several" / "whole")
    bend(prior)
    bend(tmp_path / "several" / "2022")
    unit = {"tw:unit": "1"} if band == "confidence" else {}
    for name, place, more in (("a", prior, {}), ("b", tmp_path / "several", {}), ("c", prior, {"tw:optional": True})):
        card = sum_card(tmp_path / f"card-{name}", bands=(band,), **unit, **more)
        sources = {"optics": now.source, "prior": str(place)}
        with pytest.raises((JobError, CatalogError), match=words):
            plan_job(job_of(now, card, tmp_path / name, sources=sources))


NO_BAND = {
    "observations": r"without its band observations: it is kept in data\.zarr alone",
    "class_polygons": r"without its band class_polygons: it is a table",
    "fields": r"without its band fields: it is a layer of ids",
    "clas": r"prior has no band clas \(did you mean 'class'\?\); it has: class, confidence",
}


@pytest.mark.parametrize("band", NO_BAND)
def test_what_is_no_raster_of_a_product_is_no_band(now, tmp_path, band):
    before = World(tmp_path / "before")
    before.add(noise(3), "red", day="2022-06-10", unit="reflectance")
    told = {"from": "boundary", "interior": "crop", "boundary": "bare"}
    layers = {"tw:layers": ["fields", "class", "confidence"], "tw:instances": told, "tasks": ["instance-segmentation"]}
    cover = class_card(tmp_path / "cover", **(layers if band == "fields" else {}))
    polygons = {} if band == "fields" else {"polygons": "class"}
    run(job_of(before, cover, tmp_path / "prior", period="2022", **polygons))
    sources = {"optics": now.source, "prior": str(tmp_path / "prior")}
    with pytest.raises((JobError, CatalogError), match=NO_BAND[band]):
        plan_job(job_of(now, sum_card(tmp_path / "card", bands=(band,)), tmp_path / "a", sources=sources))


def test_several_products_of_one_step_are_not_averaged_to_classes_that_are_none(now, prior, tmp_path):
    shutil.copytree(prior, prior.parent / "again")
    item = json.loads((prior.parent / "again" / "item.json").read_text())
    (prior.parent / "again" / "item.json").write_text(json.dumps({**item, "id": "again"}))
    # A day later, so that it is another pass.
    item["properties"]["start_datetime"] = "2022-01-03T00:00:00Z"
    (prior.parent / "again" / "item.json").write_text(json.dumps({**item, "id": "again"}))
    sources = {"optics": now.source, "prior": str(prior.parent)}
    card = sum_card(tmp_path / "card", **{"tw:dates": {"kind": "composite"}})
    with pytest.raises(JobError, match="band class holds classes, and step .* would be the median of 2 products"):
        plan_job(job_of(now, card, tmp_path / "a", sources=sources, period="2022/2023"))


GIVEN = {"optics": "earth-search", "prior": "earth-search"}
WRONG = {
    "a collection of no source": ({"optics": "s"}, "sources: none for prior, which input old of small needs"),
    "a source of no collection": (
        {**GIVEN, "priors": "s"},
        r"sources\.priors: small reads no collection of this name \(did you mean 'prior'\?\): it reads optics, prior",
    ),
    "no such place": ({**GIVEN, "prior": "out/2021"}, r"sources\.prior: source 'out/2021' is neither a known source"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sources_that_do_not_fit_the_card_are_refused_by_name(world, tmp_path, case):
    sources, words = WRONG[case]
    with pytest.raises((JobError, CatalogError), match=words):
        plan_job(job_of(world, sum_card(tmp_path / "card"), tmp_path / "a", sources=sources))


def test_an_optional_input_needs_no_source(now, tmp_path):
    made = run(
        job_of(
            now, sum_card(tmp_path / "card", **{"tw:optional": True}), tmp_path / "a", sources={"optics": now.source}
        )
    )
    assert np.abs(layer(made.output, "total") - noise(1)[HERE] - 90).max() < 1e-4


def test_what_one_of_several_sources_keeps_of_queries_is_kept():
    sources = {"a": {"keep_query": ["item"]}, "b": {"keep_query": ["format", "token"]}}
    assert kept_of({"sources": sources}) == ("item", "format")


def test_a_product_in_a_bucket_is_found_by_its_folder_its_documents_or_the_folder_above(
    now, prior, tmp_path, moto, monkeypatch
):
    storage = open_place("bucket", tmp_path, monkeypatch, moto)
    for path in sorted(prior.rglob("*")):
        if path.is_file():
            storage.write(f"2022/{path.relative_to(prior)}", path.read_bytes())
    card, home = sum_card(tmp_path / "card"), storage.uri
    by_disk = run(job_of(now, card, tmp_path / "disk", sources={"optics": now.source, "prior": str(prior)}))
    expected = layer(by_disk.output, "total")
    for number, place in enumerate((f"{home}/2022", f"{home}/2022/collection.json", f"{home}/2022/item.json", home)):
        sources = {"optics": now.source, "prior": place}
        made = run(job_of(now, card, tmp_path / f"made{number}", sources=sources))
        assert np.array_equal(layer(made.output, "total"), expected, equal_nan=True), place
        assert "cover-2022" in {row["id"] for row in made.report["scenes"]}
    storage.delete(["2022/class.tif"])
    with pytest.raises(JobError, match=r"2022 holds no finished product \(no whole class\.tif\)"):
        plan_job(job_of(now, card, tmp_path / "gone", sources={"optics": now.source, "prior": f"{home}/2022"}))


def test_a_product_on_a_web_server_is_one_too(now, prior, tmp_path):
    card = sum_card(tmp_path / "card")
    by_disk = run(job_of(now, card, tmp_path / "disk", sources={"optics": now.source, "prior": str(prior)}))
    with serve(prior) as server:
        for number, given in enumerate(
            (f"{server.url}/collection.json", {"kind": "product", "href": f"{server.url}/item.json"})
        ):
            sources = {"optics": now.source, "prior": given}
            made = run(job_of(now, card, tmp_path / f"made{number}", sources=sources))
            assert np.array_equal(layer(made.output, "total"), layer(by_disk.output, "total"), equal_nan=True)
