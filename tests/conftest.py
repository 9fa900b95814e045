from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from filelock import FileLock

from tests.support.paths import REAL, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.support.worlds import World


def pytest_configure() -> None:
    """Commands that tests start hear signals, also under `nohup` and from a script's background, which ignore them."""
    heard = {"SIGHUP": signal.SIG_DFL, "SIGINT": signal.default_int_handler}
    for name, handler in heard.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of the real Sentinel windows, skipped with a reason where it is absent."""
    if not (REAL / "catalog.json").exists():
        pytest.skip("real Sentinel windows not found beside the checkout (../shared/real)")
    return REAL


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the embedded sample, built once for all workers of a test run."""
    from tilewright.catalogs.sample.build import build_sample

    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    with FileLock(folder / "sample.lock"):
        return build_sample(folder / "sample").parent


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PREFECT_HOME with an empty database, made once for all workers of a test run; copy it to use it."""
    pytest.importorskip("prefect", reason="the extra `flows` is not installed")
    from tests.support.prefect_servers import make_home

    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    with FileLock(folder / "prefect-home.lock"):
        return make_home(folder / "prefect-home")


@pytest.fixture(scope="session")
def services() -> dict[str, str]:
    """Addresses of the running services by name; skipped with a reason where there are none.

    With TILEWRIGHT_TEST_STAC_API in the environment they are expected to run, and a test fails where they do not.
    """
    from deploy.services.addresses import PREFIX, read_addresses
    from deploy.services.processes import answers

    given = {name.removeprefix(PREFIX): value for name, value in os.environ.items() if name.startswith(PREFIX)}
    if "STAC_API" in given:
        return given
    found = read_addresses(ROOT / ".services" / "env")
    if not found or not answers(found["STAC_API"]):
        pytest.skip("the services do not run: start them with `make services`, stop them with `make services-stop`")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window, skipped with a reason where there is none.

    With TILEWRIGHT_TEST_BROWSER in the environment it is expected, and a test fails where there is none.
    """
    from tests.support.browsers import running_browser

    with running_browser() as program:
        yield program


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Address of an S3 server in this process, empty for each file of tests."""
    import requests
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    # All servers of a process share their buckets.
    requests.post(f"{address}/moto-api/reset", timeout=10).raise_for_status()
    yield address
    server.stop()


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests measure and fetch into a cache of their own."""
    before = os.environ.get("TILEWRIGHT_CACHE")
    os.environ["TILEWRIGHT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["TILEWRIGHT_CACHE"]
    else:
        os.environ["TILEWRIGHT_CACHE"] = before


@pytest.fixture(scope="session")
def small_pictures() -> Iterator[None]:
    """Previews of a few pixels: compressing large ones takes longer than the small jobs of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tilewright.tasks.publish.publish.PICTURE_SIZE", 64)
        yield


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job file for a small product in 16 blocks; see tests/support/products.py."""
    from tests.support.products import BLOCK, write_job

    return write_job(tmp_path_factory.mktemp("job"), tile={"block": 2 * BLOCK, "step": BLOCK})


@pytest.fixture(scope="session")
def whole(job: Path, small_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that product, made once for all tests of a worker: copy it to change it."""
    from tests.support.products import read
    from tilewright.flows.run.predict import run_job

    return Path(run_job(read(job, tmp_path_factory.mktemp("whole") / "out")).output)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world without scenes, of this test's own; see tests/support/worlds.py."""
    from tests.support.worlds import World

    return World(tmp_path / "world")


@pytest.fixture
def produce(world: World, tmp_path: Path) -> Callable[..., dict[str, np.ndarray]]:
    """From a card to a product's layers by name, over the box that tests of families share."""
    from tests.support.families import produced

    def run_card(card: Path, name: str = "out", **changes: Any) -> dict[str, np.ndarray]:
        return produced(world, card, tmp_path / name, **changes)

    return run_card


@pytest.fixture
def item() -> dict[str, Any]:
    """The Item of a published product; see tests/support/published.py."""
    from tests.support.published import PRODUCT
    from tilewright.catalogs.publish.item import build_item, item_json

    return item_json(build_item(PRODUCT))


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Starts a handler of http.server on a free port of this machine and gives its address."""
    from contextlib import ExitStack

    from tests.support.http_servers import running

    with ExitStack() as servers:
        yield lambda handler: servers.enter_context(running(handler))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A small tiled raster with a gap, and its pixels (300, 400) uint16."""
    from tests.support.scenes import write_raster

    values = np.random.default_rng(3).integers(1, 10_000, (300, 400), dtype=np.uint16)
    values[50:60, 70:90] = 0
    return write_raster(tmp_path_factory.mktemp("noise") / "noise.tif", values), values


@pytest.fixture
def silenced(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The times that somebody silences the warnings of the whole process, which is what fails in threads."""
    times: list[object] = []

    class Noted(warnings.catch_warnings):  # type: ignore[type-arg]
        def __enter__(self) -> object:
            times.append(self)
            return super().__enter__()

    monkeypatch.setattr(warnings, "catch_warnings", Noted)
    return times
