"""Files replaced under their hrefs: never two of them in one product, and no block made anew that stood."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import rasterio
from affine import Affine

from tests.support.graphs import conv_stack
from tests.support.places import HABITS, BucketPlace, Place, web_place
from tests.support.products import INPUT, LAYERS, OUTPUT
from tests.support.worlds import World, area, bounds, layer, write_card
from tilewright.flows.job.job import Job, make_job
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.progress import Advance, Notice
from tilewright.tasks.storage.ledger import BlockEntry, read_entries
from tilewright.tasks.storage.storage import open_storage

pytestmark = pytest.mark.usefixtures("small_pictures")

SIDE, BLOCK = 128, 32
N_BLOCKS = (SIDE // BLOCK) ** 2
PLACES = ("disk", *HABITS, "s3")
TOLD = tuple(place for place in PLACES if place not in {"plain", "sizeless"})
"""Places that tell a file from another of its size."""
CHANGED = "second-nir.tif"
"""The file that is replaced; its scene covers a corner of the area."""
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-central-1"}


class StopError(Exception):
    """The end of a run that a test interrupts."""


@dataclass(frozen=True, kw_only=True)
class Small:
    """A world of two scenes: its files and card, files that may take the place of one, and the product of each."""

    folder: Path
    card: Path
    entries: list[dict[str, Any]]
    other: Path
    before: Path
    after: Path

    def job(self, place: Place, output: Path, **changes: Any) -> Job:
        files = [{**entry, "href": place.href(Path(entry["href"]).name)} for entry in self.entries]
        return _job(self.card, files, output, **changes)


def _job(card: Path, files: list[dict[str, Any]], output: Path, **changes: Any) -> Job:
    plain = {
        "name": "small",
        "area": area((-2, SIDE + 2), (-2, SIDE + 2)),
        "grid": {"crs": "EPSG:32633", "bounds": bounds((0, SIDE), (0, SIDE))},
        "period": "2023-06-01/2023-06-30",
        "source": {"files": files},
        "model": str(card),
        "tile": {"block": BLOCK, "step": BLOCK},
        **changes,
    }
    return make_job(plain, base=output.parent, output=str(output))


def write_files(folder: Path, seed: int) -> list[dict[str, Any]]:
    """Two scenes: one over the whole area, one over a corner of it."""
    world, random = World(folder), np.random.default_rng(seed)
    for scene, day, shape, at in (
        ("first", "2023-06-10", (SIDE, SIDE), (0, 0)),
        ("second", "2023-06-20", (30, 30), (70, 70)),
    ):
        for band in INPUT["bands"]:
            world.add(random.random(shape, dtype=np.float32), band, scene=scene, day=day, at=at, unit="reflectance")
            name = Path(world.files[-1]["href"])
            better = name.with_name(f"{scene}-{band}.tif")
            name.rename(better)
            world.files[-1]["href"] = str(better)
    return world.files


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    entries = write_files(folder / "files", 5)
    write_files(folder / "others", 6)
    card = write_card(folder / "card", conv_stack(n_in=2), inputs=[INPUT], outputs=[OUTPUT], tile={"step": BLOCK})
    one, other = folder / "files" / CHANGED, folder / "others" / CHANGED
    # TIFF does not mind bytes behind its last strip: of one size.
    longest = max(one.stat().st_size, other.stat().st_size)
    for path in (one, other):
        path.write_bytes(path.read_bytes().ljust(longest, b"\0"))
    run_job(_job(card, entries, folder / "before"))
    shutil.copytree(folder / "files", folder / "new")
    shutil.copy(other, folder / "new" / CHANGED)
    moved = [{**entry, "href": str(folder / "new" / Path(entry["href"]).name)} for entry in entries]
    run_job(_job(card, moved, folder / "after"))
    assert any(not np.array_equal(layer(folder / "before", name), layer(folder / "after", name)) for name in LAYERS)
    return Small(
        folder=folder / "files",
        card=card,
        entries=entries,
        other=other,
        before=folder / "before",
        after=folder / "after",
    )


@pytest.fixture
def place_of(
    small: Small, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch
) -> Iterator[Callable[[str], Place]]:
    with ExitStack() as servers:

        def make(kind: str) -> Place:
            folder = tmp_path / "files"
            shutil.copytree(small.folder, folder)
            if kind == "disk":
                return Place(folder)
            if kind == "s3":
                address = request.getfixturevalue("moto")
                for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
                    monkeypatch.setenv(name, value)
                client = boto3.client("s3", endpoint_url=address, region_name=KEYS["AWS_REGION"])
                bucket = f"files-{time.time_ns()}"
                client.create_bucket(
                    Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_REGION"]}
                )
                return BucketPlace(folder, client, bucket)
            return servers.enter_context(web_place(folder, kind))

        yield make


def ledger(output: Path) -> dict[str, BlockEntry]:
    return read_entries(open_storage(str(output)))


def stamps(output: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (output / ".tilewright/ledger").glob("[!.]*.json")}


def redone(before: dict[str, int], output: Path) -> set[str]:
    """Names of the blocks whose entries were written since."""
    return {name for name, stamp in stamps(output).items() if before.get(name) != stamp}


def touched(output: Path) -> set[str]:
    """Names of the blocks that read the scene in the corner: 70 to 100 px and what the model and resampling reach."""
    names = {name for name, entry in ledger(output).items() if "second" in entry.scenes}
    inside = {name for name, entry in ledger(output).items() if {entry.row % 4, entry.col % 4} <= {2, 3}}
    assert 0 < len(names) < N_BLOCKS, (names, inside)
    return names


def assert_pixels(output: Path, expected: Path) -> None:
    for name in LAYERS:
        assert np.array_equal(layer(output, name), layer(expected, name)), name


class Hook:
    """A listener that acts once so many blocks are recorded, and keeps what was said."""

    def __init__(self, after: int, act: Callable[[], None]) -> None:
        self.after, self.act, self.said = after, act, []

    def __call__(self, event: Any) -> None:
        if isinstance(event, Notice):
            self.said.append(event.text)
        if isinstance(event, Advance) and event.block:
            self.after -= 1
            if self.after == 0:
                self.act()


def stop() -> None:
    raise StopError


def interrupt(job: Job, after: int) -> None:
    with pytest.raises(StopError):
        run_job(job, RunOptions(workers=1), listener=Hook(after, stop))


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
