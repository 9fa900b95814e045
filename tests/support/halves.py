"""Products that are left half: a tiny one of many parts, the fault that ends a run at a write, and what is compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.products import read, write_job
from tests.support.worlds import World
from tilewright.catalogs.publish.geoparquet import read_items, write_items
from tilewright.flows.maintain.push import push_product
from tilewright.flows.maintain.status import product_status
from tilewright.flows.run.predict import run_job
from tilewright.flows.runners.run_options import RunOptions
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import Storage

SIDE, BLOCK = 96, 32

TIMES = {"created", "updated", "processing:software"}

OWNERS = {".tilewright/.taking", ".tilewright/lock.json", ".tilewright/generation.json"}
"""Files that say whose an output is, and since how many runs."""

WRITES = ("write", "write_private", "create_json", "upload", "move_file", "delete", "delete_below")
"""The methods of a storage that change it."""


@contextmanager
def many_parts() -> Iterator[None]:
    """Products of few pixels that have what large ones have: several parts, and four levels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilewright.tasks.publish.publish.PICTURE_SIZE", 64)
        patch.setattr("tilewright.tasks.publish.names.MAX_SIDE", 64)
        patch.setattr("tilewright.tasks.zarr.pyramid.SMALLEST_LEVEL", 12)
        yield


def write_jobs(folder: Path) -> tuple[Path, Path]:
    """The files of a job, and of one whose source has another scene, which changes some of its blocks."""
    job = write_job(folder, side=SIDE, tile={"block": BLOCK, "step": BLOCK})
    plain = json.loads(job.read_text())
    world = World(folder / "more")
    world.files += plain["source"]["files"]
    for band in ("green", "nir"):
        values = np.full((20, 20), 0.5, dtype=np.float32)
        world.add(values, band, scene="second", day="2023-06-20", at=(10, 10), unit="reflectance")
    other = folder / "changed.json"
    other.write_text(json.dumps({**plain, "source": world.source}))
    return job, other


def make(job: Path, output: Path | str, **options: Any) -> Any:
    """The job, done in this process."""
    return run_job(read(job, output), RunOptions(workers=1, **options))


def listed_with(output: Path, name: str = "theirs") -> None:
    """Make a product's Collection and table list another Item, whose file lies in the output too."""
    item = {**json.loads((output / "item.json").read_text()), "id": name}
    (output / f"{name}.json").write_text(json.dumps(item))
    collection = json.loads((output / "collection.json").read_text())
    link = {"rel": "item", "href": f"./{name}.json", "type": "application/geo+json", "title": name}
    collection["links"].append(link)
    (output / "collection.json").write_text(json.dumps(collection))
    write_items(output / "items.parquet", [*read_items(output / "items.parquet"), item])


def listing(output: Path) -> tuple[set[str], set[str]]:
    """The hrefs of the Items in a Collection, and the ids in a table; empty where there is none."""
    links = (
        json.loads((output / "collection.json").read_text())["links"] if (output / "collection.json").exists() else []
    )
    rows = read_items(output / "items.parquet") if (output / "items.parquet").exists() else []
    return {link["href"] for link in links if link["rel"] == "item"}, {row["id"] for row in rows}


class Killed(BaseException):
    """The end of a process: nothing catches it, and nothing is written after it."""


class Writes:
    """Counts the writes of all storages, and ends the run at one of them: before it, or after it happened."""

    def __init__(self, *, at: int = 0, after: bool = False, only: Callable[[str], bool] = lambda _key: True) -> None:
        self.at, self.after, self.only = at, after, only
        self.keys: list[str] = []
        self.dead = False

    def step(self, key: str, action: Callable[[], Any]) -> Any:
        """Do one write, unless the process has ended."""
        if self.dead:
            raise Killed
        if not self.only(key):
            return action()
        self.keys.append(key)
        self.dead = len(self.keys) == self.at
        if self.dead and not self.after:
            raise Killed
        answer = action()
        if self.dead:
            raise Killed
        return answer


@contextmanager
def counted(writes: Writes) -> Iterator[Writes]:
    """All writes of storages of this process go through ``writes``; those of Zarr's own store are not counted."""
    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            patch.setattr(Storage, name, _stepping(writes, name, getattr(Storage, name)))
        yield writes


def _stepping(writes: Writes, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(storage: Storage, key: Any, *given: Any, **named: Any) -> Any:
        if name != "delete":
            return writes.step(key, lambda: real(storage, key, *given, **named))
        for each in key:
            writes.step(f"-{each}", lambda each=each: real(storage, [each]))
        return None

    return call


def copied(source: Path, target: Path) -> Path:
    """A copy of a product, links as links."""
    return Path(shutil.copytree(source, target, symlinks=True))


def differing(output: Path, other: Path) -> list[str]:
    """The names by which two products differ, but for times: of store, files, Items, Collection, table and state."""
    ours, theirs = _content(output), _content(other)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _content(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(path for path in output.rglob("*") if path.is_file()):
        name = str(path.relative_to(output))
        if name in OWNERS:
            continue
        if name in {"progress.json", "report.json", "report.html", "preview.png"}:
            found[name] = path.stat().st_size > 0
        elif name.startswith((".tilewright/ledger/", ".tilewright/cogs/", ".tilewright/pyramid/")):
            found[name] = _timeless(json.loads(path.read_text()))
        elif name == "items.parquet":
            found[name] = [_timeless(row) for row in read_items(path)]
        elif name.endswith("files.json"):
            found[name] = {**json.loads(path.read_text()), "table": ""}
        elif name.endswith(".json") and "/" not in name:
            found[name] = _timeless(json.loads(path.read_text()))
        else:
            found[name] = path.read_bytes()
    return found


def _timeless(plain: Any) -> Any:
    """Without what differs between two runs of a job: times, and sizes and sums of files that hold times."""
    if isinstance(plain, dict):
        dated = {"report.html", "preview.png", "plan.json"} & {str(plain.get("href", "")).rpartition("/")[2]}
        left_out = {
            *TIMES,
            "seconds",
            "etag",
            "bytes_read",
            "bytes_decoded",
            "reads",
            "pixels_read",
            *({"file:size", "file:checksum"} if dated else ()),
        }
        return {key: _timeless(value) for key, value in plain.items() if key not in left_out}
    return [_timeless(value) for value in plain] if isinstance(plain, list) else plain


@pytest.fixture(scope="module")
def parts():
    with many_parts():
        yield


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return write_jobs(tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def product(parts, jobs, tmp_path_factory):
    """The product of the first job; copy it to change it."""
    return Path(make(jobs[0], tmp_path_factory.mktemp("product") / "out").output)


@pytest.fixture(scope="module")
def changed(parts, jobs, tmp_path_factory):
    """The product of the job with another scene."""
    return Path(make(jobs[1], tmp_path_factory.mktemp("changed") / "out").output)


@pytest.fixture(scope="module")
def blocks_done(parts, jobs, tmp_path_factory):
    """The output of a run that ended after its last block."""
    output = tmp_path_factory.mktemp("blocks") / "out"

    def end(event):
        if getattr(event, "name", "") == "cogs":
            raise Killed

    with pytest.raises(Killed):
        run_job(read(jobs[0], output), RunOptions(workers=1), listener=end)
    return output


def is_finished(output):
    """Whether a product counts as a finished one: for all who ask the same."""
    asks = (
        lambda: product_status(str(output))["state"] == "complete",
        lambda: push_product(str(output), "http://127.0.0.1:9/none"),
    )
    answers = set()
    for ask in asks:
        try:
            answers.add(ask())
        except StoreError as error:
            answers.add("path of this machine" in str(error))
    assert len(answers) == 1, answers
    return answers.pop()
