"""A small world whose files are replaced, the products before and after, and what a run of it is compared by."""

from __future__ import annotations

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
        return small_job(self.card, files, output, **changes)


def small_job(card: Path, files: list[dict[str, Any]], output: Path, **changes: Any) -> Job:
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
    run_job(small_job(card, entries, folder / "before"))
    shutil.copytree(folder / "files", folder / "new")
    shutil.copy(other, folder / "new" / CHANGED)
    moved = [{**entry, "href": str(folder / "new" / Path(entry["href"]).name)} for entry in entries]
    run_job(small_job(card, moved, folder / "after"))
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
