"""The order in which blocks are read: strips that the decoded pixels of their rows fit, and far fewer decoded twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rasterio._env import get_gdal_config

from tests.support.graphs import conv_stack
from tests.support.worlds import World, layer, pixel_job, run, write_card
from tilewright.flows.estimate import memory
from tilewright.flows.job.job import Job
from tilewright.flows.runners import threads
from tilewright.flows.runners.worker import reopen_worker
from tilewright.tasks.block.worker import Worker, WorkerSettings
from tilewright.tasks.grid.blocks import Block
from tilewright.tasks.plan import read_order
from tilewright.tasks.plan.plan import Plan
from tilewright.tasks.plan.raster import RasterPlan
from tilewright.tasks.plan.read_order import plan_read_order
from tilewright.tasks.read import reader
from tilewright.tasks.read.counters import ReadStats
from tilewright.tasks.read.gdal import CACHE_BYTES
from tilewright.tasks.read.reader import close_files, set_block_cache

pytestmark = pytest.mark.usefixtures("small_pictures")
ROWS, COLS = (12, 756), (20, 2030)
IMAGE = {"name": "x", "bands": ["red", "nir"]}
HEAD = {"name": "y", "tw:layers": ["one", "two"]}
FILE_BLOCK = 256
KB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Georeference:
    """A wide world, a card, and jobs of blocks 256 px wide: a few rows of eight or nine."""

    folder: Path
    world: World
    card: Path

    def job(self, name: str, **changes: Any) -> Job:
        return pixel_job(
            self.world, self.card, self.folder / name, rows=ROWS, cols=COLS, tile={"block": 256}, **changes
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Georeference:
    folder = tmp_path_factory.mktemp("wide")
    world = World(folder / "world")
    for seed, band in enumerate(IMAGE["bands"]):
        values = np.random.default_rng(seed).uniform(0, 1, (768, 2048)).astype(np.float32)
        world.add(values, band, unit="reflectance")
    card = write_card(folder / "card", conv_stack(n_in=2), inputs=[IMAGE], outputs=[HEAD])
    return Georeference(folder=folder, world=world, card=card)


@pytest.fixture(scope="module")
def worker(place: Georeference) -> Worker:
    """The workshop of a finished product; its files are in blocks of 256 px too."""
    made = run(place.job("out"))
    return reopen_worker(made.output, WorkerSettings(provider="cpu", read_threads=1))


@pytest.fixture
def _cache() -> Iterator[None]:
    yield
    close_files()
    set_block_cache(CACHE_BYTES)


def read_factor(worker: Worker, order: list[Block], n_bytes: int) -> float:
    """Pixels decoded per pixel needed when blocks are read in an order, with so many bytes kept."""
    close_files()
    set_block_cache(n_bytes)
    counting = replace(worker, stats=ReadStats())
    for block in order:
        counting.read(block)
    return counting.stats.read_factor


@pytest.mark.usefixtures("_cache")
def test_strips_decode_little_twice_where_rows_would_decode_all_of_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_order, "FILE_BLOCK", FILE_BLOCK)
    blocks = list(worker.plan.raster.all_blocks())
    room = 5000 * KB
    found = plan_read_order(worker.plan, worker.plan.raster.blocks, least=0, most=room)
    assert 1 < found.width < 8
    assert found.cache_bytes <= room
    rows, strips = (
        read_factor(worker, blocks, found.cache_bytes),
        read_factor(worker, found.order(blocks), found.cache_bytes),
    )
    print(f"\nread factor by rows {rows:.2f}, in strips of {found.width} blocks {strips:.2f}")
    assert strips < 1 + 0.6 * (rows - 1)
    whole = plan_read_order(worker.plan, worker.plan.raster.blocks, least=0, most=10**9)
    assert whole.width >= 8
    assert whole.order(blocks) == blocks, "where a whole row fits, rows it is"
    assert read_factor(worker, blocks, whole.cache_bytes) == 1.0
    assert whole.whole
    tight = plan_read_order(worker.plan, worker.plan.raster.blocks, least=KB, most=2 * KB)
    assert (tight.width, tight.whole) == (1, False), "one column of blocks is read, whether it fits or not"


def test_every_block_is_read_once_in_strips_of_equal_width(worker: Worker) -> None:
    blocks = list(worker.plan.raster.all_blocks())
    columns = {block.col for block in blocks}
    for most in (0, 3 * 10**6, 10**7, 3 * 10**7, 10**9):
        found = plan_read_order(worker.plan, worker.plan.raster.blocks, least=2 * 10**6, most=most)
        order = found.order(blocks)
        assert sorted(order, key=lambda each: (each.row, each.col)) == blocks
        strips = [(block.col - min(columns)) // found.width for block in order]
        assert strips == sorted(strips)
        assert len(columns) - found.width * max(strips) > found.width // 2, "no strip is a narrow rest"
        assert 2 * 10**6 <= found.cache_bytes <= max(most, 2 * 10**6)


def test_nothing_to_read_and_one_block_have_an_order_too(worker: Worker) -> None:
    assert plan_read_order(worker.plan, [], least=10, most=100).order([]) == []
    first = worker.plan.raster.all_blocks()[:1]
    assert plan_read_order(worker.plan, worker.plan.raster.blocks[:1], least=10, most=100).order(first) == list(first)


def test_the_memory_of_a_run_is_estimated_without_making_all_of_its_blocks(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    whole = RasterPlan.framed
    monkeypatch.setattr(RasterPlan, "framed", lambda plan, block: made.append(1) or whole(plan, block))  # type: ignore[func-returns-value]
    places = tuple((row, col) for row in range(330) for col in range(330))
    memory.expected_memory(
        replace(worker.plan, raster=replace(worker.plan.raster, blocks=places)),
        worker.model.card,
        free=10**9,
        on_gpu=True,
    )
    assert 0 < len(made) <= 2 * read_order.PROBES


def test_coarser_files_and_fewer_scenes_need_less(worker: Worker) -> None:
    def needed(plan: Plan) -> int:
        return plan_read_order(plan, plan.raster.blocks, least=0, most=10**12).cache_bytes

    (entry,) = worker.plan.inputs
    coarse = [
        replace(
            scene,
            assets=tuple(replace(asset, transform=(20.0, *asset.transform[1:])) for asset in scene.assets),  # type: ignore[index, misc]
        )
        for scene in entry.scenes
    ]
    assert all(asset.transform for scene in entry.scenes for asset in scene.assets), "the test changes what is there"
    assert needed(replace(worker.plan, inputs=(replace(entry, scenes=tuple(coarse)),))) * 4 == pytest.approx(
        needed(worker.plan), rel=1e-6
    )
    assert needed(replace(worker.plan, inputs=(replace(entry, scenes=entry.scenes[:1]),))) * len(entry.scenes) == (
        pytest.approx(needed(worker.plan), rel=1e-6)
    )


def test_the_cache_of_a_wider_area_is_no_larger(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    block, first = worker.plan.raster.lattice.block, worker.plan.raster.blocks[0]
    monkeypatch.setattr(read_order, "STRIP_PIXELS", 8 * block)

    def found(n_columns: int) -> read_order.ReadOrder:
        places = [(first[0] + row, first[1] + col) for row in range(3) for col in range(n_columns)]
        return plan_read_order(worker.plan, places, least=0, most=10**12)

    assert [found(n_columns).width for n_columns in (3, 8, 9, 16, 17, 800)] == [3, 8, 5, 8, 6, 8]
    assert found(800).cache_bytes == found(8).cache_bytes > found(3).cache_bytes
    monkeypatch.setattr(read_order, "STRIP_PIXELS", block // 2)
    assert found(5).width == 1, "a block is read as a whole"


@pytest.mark.usefixtures("_cache")
def test_after_the_blocks_nothing_is_held_to_read_more(place: Georeference, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[int] = []
    monkeypatch.setattr(threads, "release_memory", lambda: released.append(1))
    monkeypatch.setattr(threads, "RELEASE_SECONDS", 0.0)
    made = run(place.job("released"))
    assert len(released) == made.report["blocks"] + 1, "after each block, and after all"
    assert not reader._HANDLES._idle
    assert get_gdal_config("GDAL_CACHEMAX") == reader.IDLE_CACHE_BYTES
    monkeypatch.setattr(threads, "RELEASE_SECONDS", 1e9)
    run(place.job("released later"))
    assert len(released) == made.report["blocks"] + 2


def test_returns_of_memory_that_take_long_come_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now, released = [0.0], []

    def release() -> None:
        released.append(now[0])
        now[0] += 1.0

    def entries() -> Iterator[int]:
        for number in range(200):
            now[0] += 1.0
            yield number

    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(threads, "release_memory", release)
    assert list(threads._with_releases(entries())) == list(range(200))
    assert released == [5.0, 56.0, 107.0, 158.0], "a second in fifty"


@pytest.mark.usefixtures("_cache")
def test_a_limit_of_memory_bounds_what_is_kept_and_changes_no_pixel(
    worker: Worker, place: Georeference, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []

    def keep(n_bytes: int) -> None:
        kept.append(n_bytes)
        set_block_cache(n_bytes)

    monkeypatch.setattr(threads, "set_block_cache", keep)
    monkeypatch.setattr(memory, "CACHE_BYTES", KB)
    monkeypatch.setattr(memory, "DECODED_DIVISOR", 250)
    plain = run(place.job("plain"))
    tight = run(place.job("tight", limits={"memory_mb": 1000}))
    assert kept[1] <= 4 * 10**6 < kept[0]
    for made in (plain, tight):
        assert np.array_equal(layer(made.output, "one"), layer(worker.storage.uri, "one"), equal_nan=True)
    assert tight.report["read_factor"] >= plain.report["read_factor"] == 1.0
