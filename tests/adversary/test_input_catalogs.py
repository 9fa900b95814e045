"""Files of catalogs that are replaced: what Items state about them, and files that first answer when they are read."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import shape

from tests.support.places import web_place
from tests.support.replaced import (
    CHANGED,
    N_BLOCKS,
    Hook,
    Place,
    Small,
    assert_pixels,
    interrupt,
    ledger,
    place_of,
    redone,
    small,
    small_job,
    stamps,
    stop,
    touched,
)
from tests.support.worlds import area
from tilewright.flows.job.job import Job, JobError
from tilewright.flows.maintain.rerun import rerun_item
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.read.failures import ReadError

__all__ = ["place_of", "small"]

pytestmark = pytest.mark.usefixtures("small_pictures")

CODES = {"sha256": "1220", "md5": "d50110"}
"""How a multihash of each begins; every kind is in tests/tasks/identity/test_checksum.py."""


def multihash(path: Path, name: str = "sha256") -> str:
    return CODES[name] + hashlib.new(name, path.read_bytes()).hexdigest()


def catalog_job(small: Small, place: Place, output: Path, stated: dict[str, str] | None = None, **changes: Any) -> Job:
    """The job of the small world over a static catalog of two Items; `stated` are checksums by file."""
    folder = output.parent / "catalog"
    folder.mkdir(exist_ok=True)
    updated = changes.pop("updated", "2023-07-01T00:00:00Z")
    extents = {"first": ((0, 128), (0, 128)), "second": ((70, 100), (70, 100))}
    for scene, (rows, cols) in extents.items():
        footprint = area(rows, cols)
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": scene,
            "collection": "optics",
            "geometry": footprint,
            "bbox": list(shape(footprint).bounds),
            "properties": {
                "datetime": "2023-06-10T10:00:00Z" if scene == "first" else "2023-06-20T10:00:00Z",
                "updated": updated,
                "proj:code": "EPSG:32633",
            },
            "assets": {
                band: {
                    "href": place.href(f"{scene}-{band}.tif"),
                    **_placed(small.folder / f"{scene}-{band}.tif"),
                    **({"file:checksum": stated[name]} if (name := f"{scene}-{band}.tif") in (stated or {}) else {}),
                }
                for band in ("green", "nir")
            },
            "links": [],
        }
        (folder / f"{scene}.json").write_text(json.dumps(item))
    catalog = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "files",
        "description": "two scenes",
        "links": [{"rel": "item", "href": f"./{scene}.json"} for scene in extents],
    }
    (folder / "catalog.json").write_text(json.dumps(catalog))
    bands = {band: {"asset": band, "unit": "reflectance"} for band in ("green", "nir")}
    source = {"href": str(folder / "catalog.json"), "bands": {"optics": bands}}
    return small_job(small.card, [], output, source=source, **changes)


def _placed(path: Path) -> dict[str, Any]:
    import rasterio

    with rasterio.open(path) as dataset:
        return {"proj:shape": list(dataset.shape), "proj:transform": list(dataset.transform)[:6]}


@pytest.mark.parametrize("kind", ["disk", "etag", "s3"])
def test_a_moved_updated_makes_no_block_anew_and_another_file_under_it_does(small, place_of, tmp_path, kind):
    place, output = place_of(kind), tmp_path / "out"
    run_job(catalog_job(small, place, output))
    assert_pixels(output, small.before)
    kept = stamps(output)
    assert not run_job(
        catalog_job(small, place, output, updated="2023-08-01T00:00:00Z"), RunOptions(update=True)
    ).already_complete
    assert redone(kept, output) == set()
    place.put(CHANGED, small.other)
    run_job(catalog_job(small, place, output, updated="2023-09-01T00:00:00Z"), RunOptions(update=True))
    assert_pixels(output, small.after)
    assert redone(kept, output) == touched(output)


@pytest.mark.parametrize("name", list(CODES))
def test_a_file_that_is_not_the_stated_one_is_refused(small, place_of, tmp_path, name):
    place, output = place_of("disk"), tmp_path / "out"
    stated = {CHANGED: multihash(place.folder / CHANGED, name)}
    outcome = run_job(catalog_job(small, place, output, stated, verify="checksums"))
    counts = outcome.report["input_files"]
    assert (counts["checksums_stated"], counts["checksums_verified"], counts["files"]) == (1, 1, 4)
    place.put(CHANGED, small.other)
    job = catalog_job(small, place, tmp_path / "wrong", stated, verify="checksums")
    with pytest.raises(JobError, match=f"{CHANGED} is not the file that its item states: expected {name}") as refused:
        run_job(job)
    found = hashlib.new(name, small.other.read_bytes()).hexdigest()
    assert found in str(refused.value)
    # Whoever does not ask for it gets the file that is there.
    run_job(catalog_job(small, place, tmp_path / "wrong", stated))
    assert_pixels(tmp_path / "wrong", small.after)


@pytest.mark.parametrize("kind", ["disk", "date", "plain", "s3"])
def test_checksums_are_verified_wherever_a_file_lies_and_again_once_it_changed(small, place_of, tmp_path, kind):
    place, output = place_of(kind), tmp_path / "out"
    stated = {CHANGED: multihash(small.folder / CHANGED)}
    job = catalog_job(small, place, output, stated, verify="checksums")
    interrupt(job, N_BLOCKS - 1)
    kept = stamps(output)
    # The same bytes put there again are the stated file, whatever its dates say.
    place.put(CHANGED, small.folder / CHANGED)
    run_job(job)
    assert redone(kept, output) == {*stamps(output)} - {*kept}
    assert_pixels(output, small.before)
    place.put(CHANGED, small.other)
    with pytest.raises(JobError, match="is not the file"):
        run_job(job, RunOptions(update=True))


@pytest.mark.parametrize("stated", ["1e20" + "00" * 32, "nonsense"])
def test_a_checksum_of_an_unknown_kind_is_said_and_left_alone(small, place_of, tmp_path, stated):
    place, output = place_of("disk"), tmp_path / "out"
    hook = Hook(0, stop)
    outcome = run_job(catalog_job(small, place, output, {CHANGED: stated}, verify="checksums"), listener=hook)
    assert [
        text for text in hook.said if "0 of 4 input files were verified by a checksum; 1 state one, some by" in text
    ]
    assert outcome.report["input_files"]["checksums_verified"] == 0


def test_a_file_that_cannot_be_read_to_verify_it_is_a_failure(small, place_of, tmp_path):
    place = place_of("etag")
    stated = {CHANGED: multihash(small.folder / CHANGED)}
    job = catalog_job(small, place, tmp_path / "out", stated, verify="checksums")
    place.remove(CHANGED)
    with pytest.raises((ReadError, JobError), match=CHANGED):
        run_job(job)


def test_a_file_that_first_answers_when_it_is_read_is_held_from_then_on(small, tmp_path, monkeypatch):
    folder, output = tmp_path / "files", tmp_path / "out"
    shutil.copytree(small.folder, folder)
    monkeypatch.setattr("tilewright.flows.plan.headers.BUDGET_S", 0.5)
    with web_place(folder, "etag") as place:
        job = catalog_job(small, place, output)

        def answer(event: Any) -> None:
            if getattr(event, "name", "") == "prepare":
                place.down = False
            hook(event)

        place.down = True
        hook = Hook(N_BLOCKS - 1, stop)
        with pytest.raises(Exception, match="^$"):
            run_job(job, RunOptions(workers=1), listener=answer)
        assert [text for text in hook.said if "4 of 4 input files could not be identified yet" in text]
        recorded = {name for entry in ledger(output).values() for name in entry.inputs}
        assert recorded == {f"optics {scene} {band}" for scene in ("first", "second") for band in ("green", "nir")}
        kept = stamps(output)
        place.put(CHANGED, small.other)
        run_job(job)
        assert_pixels(output, small.after)
        assert redone(kept, output) == ({*stamps(output)} - {*kept}) | touched(output)
        assert run_job(job).already_complete


def test_a_server_that_is_down_for_an_update_is_no_reason_to_make_blocks_anew(small, tmp_path, monkeypatch):
    folder, output = tmp_path / "files", tmp_path / "out"
    shutil.copytree(small.folder, folder)
    monkeypatch.setattr("tilewright.flows.plan.headers.BUDGET_S", 0.5)
    with web_place(folder, "etag") as place:
        run_job(catalog_job(small, place, output))
        kept = stamps(output)
        place.down = True
        run_job(catalog_job(small, place, output, updated="2023-08-01T00:00:00Z"), RunOptions(update=True))
        assert redone(kept, output) == set()


def test_a_product_rebuilt_from_its_item_says_that_an_input_changed(small, place_of, tmp_path):
    place, output = place_of("disk"), tmp_path / "out"
    run_job(small.job(place, output))
    assert rerun_item(str(output / "item.json"), output=str(tmp_path / "same"))["inputs_changed"] == []
    place.put(CHANGED, small.other)
    found = rerun_item(str(output / "item.json"), output=str(tmp_path / "again"))
    assert not found["identical"]
    assert found["inputs_changed"] == [str(place.folder / CHANGED)]
    assert "Of its input files 1 changed" in found["sentence"]
    assert found["blocks"]["differing"] > 0
    assert_pixels(tmp_path / "again", small.after)
