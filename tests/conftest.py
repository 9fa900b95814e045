from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator

REAL = Path(__file__).parents[1].parent / "shared" / "real"


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of the real Sentinel windows, skipped with a reason where it is absent."""
    if not (REAL / "catalog.json").exists():
        pytest.skip("real Sentinel windows not found beside the checkout (../shared/real)")
    return REAL


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the embedded sample, built once for all workers of a test run."""
    from catalogs.sample import build_sample

    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    with FileLock(folder / "sample.lock"):
        return build_sample(folder / "sample").parent


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
        patch.setattr("flows.finish.PICTURE_SIZE", 64)
        yield
