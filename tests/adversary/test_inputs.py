"""Files replaced under their hrefs: never two of them in one product, and no block made anew that stood."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from affine import Affine

from tests.support.places import Place
from tests.support.replaced import (
    CHANGED,
    N_BLOCKS,
    TOLD,
    Hook,
    StopError,
    assert_pixels,
    interrupt,
    ledger,
    place_of,
    redone,
    small,
    stamps,
    stop,
    touched,
)
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.identity.take import Taken
from tilewright.tasks.progress import Advance, Stage

__all__ = ["place_of", "small"]

pytestmark = pytest.mark.usefixtures("small_pictures")


@pytest.mark.parametrize(
    ("kind", "after"), [*((kind, 1) for kind in TOLD), ("disk", N_BLOCKS - 1), ("etag", N_BLOCKS - 1)]
)
def test_a_file_replaced_before_a_resume_is_noticed_and_its_blocks_alone_are_made_anew(
    small, place_of, tmp_path, kind, after
):
    place, output = place_of(kind), tmp_path / "out"
    job = small.job(place, output)
    interrupt(job, after)
    kept = stamps(output)
    place.put(CHANGED, small.other)
    listener = Hook(0, stop)
    run_job(job, RunOptions(workers=1), listener=listener)
    assert [text for text in listener.said if "1 input file has changed since the product was begun" in text]
    assert_pixels(output, small.after)
    assert redone(kept, output) == ({*stamps(output)} - {*kept}) | touched(output)
    # And what was frozen is what was read: the product is complete, and stays so.
    assert run_job(job).already_complete
    assert run_job(job, RunOptions(update=True)).already_complete


@pytest.mark.parametrize("kind", TOLD)
def test_a_file_replaced_before_an_update_is_noticed(small, place_of, tmp_path, kind):
    place, output = place_of(kind), tmp_path / "out"
    job = small.job(place, output)
    run_job(job)
    assert_pixels(output, small.before)
    assert run_job(job, RunOptions(update=True)).already_complete
    kept = stamps(output)
    place.put(CHANGED, small.other)
    asked = len(place.asked)
    assert run_job(job).already_complete
    assert len(place.asked) == asked, "a complete product is no reason for a request"
    run_job(job, RunOptions(update=True))
    assert_pixels(output, small.after)
    assert redone(kept, output) == touched(output)


@pytest.mark.parametrize(("kind", "tolerance"), [*((kind, 0) for kind in TOLD), ("disk", 100), ("etag", 100)])
def test_a_file_replaced_between_two_blocks_ends_the_run_and_the_next_one_makes_it_right(
    small, place_of, tmp_path, kind, tolerance
):
    place, output = place_of(kind), tmp_path / "out"
    job = small.job(place, output, tolerance={"failed_reads": tolerance})
    hook = Hook(2, lambda: place.put(CHANGED, small.other))
    with pytest.raises(RuntimeError, match="changed"):
        run_job(job, RunOptions(workers=1), listener=hook)
    assert not (output / "item.json").exists()
    run_job(job)
    assert_pixels(output, small.after)
    assert not [entry for entry in ledger(output).values() if entry.failures]


@pytest.mark.parametrize("kind", ["plain", "sizeless"])
def test_where_a_server_tells_nothing_it_is_said(small, place_of, tmp_path, kind):
    place, output = place_of(kind), tmp_path / "out"
    hook = Hook(0, stop)
    run_job(small.job(place, output), listener=hook)
    words = "neither ETag nor Last-Modified" if kind == "plain" else "could not be identified yet"
    assert [text for text in hook.said if words in text]
    assert_pixels(output, small.before)


def test_workers_of_a_cluster_that_live_on_follow_the_plan_of_today(small, place_of, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra `flows` is not installed")
    place, output = place_of("etag"), tmp_path / "out"
    job = small.job(place, output)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def run(*, update: bool = False, act: Callable[[], None] = stop) -> None:
            options = RunOptions(runner=cluster.scheduler_address, workers=2, update=update)
            run_job(job, options, listener=Hook(0 if act is stop else 2, act))

        with pytest.raises(RuntimeError, match=r"\(changed\)|changed while"):
            run(act=lambda: place.put(CHANGED, small.other))
        run()
        assert_pixels(output, small.after)
        kept = stamps(output)
        place.put(CHANGED, small.folder / CHANGED)
        run(update=True)
        assert_pixels(output, small.before)
        assert redone(kept, output) == touched(output)


def restored(place: Place, other: Path) -> None:
    """The other file under the name, of the same size, with the times of the first."""
    path = place.folder / CHANGED
    status = path.stat()
    shutil.copyfile(other, path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def renamed(place: Place, other: Path) -> None:
    """The same by a rename."""
    path, draft = place.folder / CHANGED, place.folder / "draft"
    shutil.copyfile(other, draft)
    shutil.copystat(path, draft)
    draft.replace(path)


def touch(place: Place, other: Path) -> None:
    del other
    (place.folder / CHANGED).touch()


def linked(place: Place, other: Path) -> None:
    """A link to the other file."""
    (place.folder / CHANGED).unlink()
    (place.folder / CHANGED).symlink_to(other)


def beside(place: Place, other: Path) -> None:
    """A neighbour that says which pixels are missing."""
    del other
    (place.folder / f"{CHANGED}.aux.xml").write_text("<PAMDataset/>")


def grown(place: Place, other: Path) -> None:
    """A byte more at the end."""
    del other
    with (place.folder / CHANGED).open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize(
    ("replace", "pixels"),
    [
        (restored, "after"),
        (renamed, "after"),
        (linked, "after"),
        (touch, "before"),
        (beside, "before"),
        (grown, "before"),
    ],
)
def test_however_a_file_on_a_disk_is_replaced_before_a_resume_it_is_another_one(
    small, place_of, tmp_path, replace, pixels
):
    place, output = place_of("disk"), tmp_path / "out"
    job = small.job(place, output)
    interrupt(job, N_BLOCKS - 1)
    kept = stamps(output)
    replace(place, small.other)
    run_job(job)
    assert redone(kept, output) == ({*stamps(output)} - {*kept}) | touched(output)
    assert_pixels(output, getattr(small, pixels))


@pytest.mark.parametrize(("replace", "pixels"), [(restored, "after"), (renamed, "after"), (touch, "before")])
def test_however_a_file_on_a_disk_is_replaced_meanwhile_it_is_another_one(small, place_of, tmp_path, replace, pixels):
    place, output = place_of("disk"), tmp_path / "out"
    job = small.job(place, output)
    with pytest.raises(RuntimeError, match="changed"):
        run_job(job, RunOptions(workers=1), listener=Hook(2, lambda: replace(place, small.other)))
    run_job(job)
    assert_pixels(output, getattr(small, pixels))


@pytest.mark.parametrize("kind", ["disk", "etag", "s3"])
def test_a_file_that_is_gone_ends_the_run_and_one_that_comes_back_is_read(small, place_of, tmp_path, kind):
    place, output = place_of(kind), tmp_path / "out"
    job = small.job(place, output)
    interrupt(job, 1)
    place.remove(CHANGED)
    with pytest.raises(RuntimeError, match=CHANGED):
        run_job(job)
    place.put(CHANGED, small.other)
    run_job(job)
    assert_pixels(output, small.after)


def crop(path: Path) -> None:
    """The file with fewer rows."""
    _rewritten(path, rows=20)


def widen(path: Path) -> None:
    """The file with numbers of twice the bits."""
    _rewritten(path, dtype="float64")


def shift(path: Path) -> None:
    """The file three pixels to the west."""
    _rewritten(path, left=-30.0)


def _rewritten(path: Path, *, rows: int | None = None, dtype: str = "float32", left: float = 0.0) -> None:
    with rasterio.open(path) as dataset:
        values, profile = dataset.read(1)[:rows], dataset.profile
    moved = Affine.translation(left, 0) * profile["transform"]
    with rasterio.open(
        path, "w", **{**profile, "height": values.shape[0], "dtype": dtype, "transform": moved}
    ) as dataset:
        dataset.write(values.astype(dtype), 1)


@pytest.mark.parametrize(
    ("kind", "change"), [("disk", crop), ("disk", widen), ("disk", shift), ("etag", widen), ("s3", shift)]
)
def test_a_file_of_another_size_type_or_place_is_read_as_it_is(small, place_of, tmp_path, kind, change):
    place, output = place_of(kind), tmp_path / "out"
    other = tmp_path / "other.tif"
    shutil.copy(small.other, other)
    change(other)
    run_job(small.job(place, output))
    place.put(CHANGED, other)
    run_job(small.job(place, output), RunOptions(update=True))
    shutil.copy(other, place.folder / CHANGED)
    run_job(small.job(Place(place.folder), tmp_path / "anew"))
    assert_pixels(output, tmp_path / "anew")


def test_a_file_first_identified_by_an_earlier_run_and_replaced_while_a_later_one_goes_on_is_not_mixed(
    small, place_of, tmp_path, monkeypatch
):
    """The plan knows none of its files, and the later run first reads this one when it is another already."""
    monkeypatch.setattr(
        "tilewright.flows.plan.identities.take_identities",
        lambda hrefs, **_how: {href: Taken(identity=None, reason="too late") for href in hrefs},
    )
    place, output = place_of("disk"), tmp_path / "out"
    job = small.job(place, output)

    def seeing() -> set[str]:
        return {name for name, entry in ledger(output).items() if "second" in entry.scenes}

    def stop_after_one(event):
        if isinstance(event, Advance) and event.block in seeing():
            stop()

    with pytest.raises(StopError):
        run_job(job, RunOptions(workers=1), listener=stop_after_one)
    kept, saw = stamps(output), seeing()

    def replace_late(event):
        if isinstance(event, Stage) and event.name == "blocks":
            place.put(CHANGED, small.other)

    with pytest.raises(RuntimeError, match="1 input file changed while the blocks were made"):
        run_job(job, RunOptions(workers=1), listener=replace_late)
    assert not (output / "item.json").exists()
    run_job(job)
    assert_pixels(output, small.after)
    assert len(touched(output)) > len(saw), "both runs had blocks that see it"
    assert redone(kept, output) == ({*stamps(output)} - {*kept}) | touched(output)
