from __future__ import annotations

from pathlib import Path

import pytest

REAL = Path(__file__).parents[1].parent / "shared" / "real"


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of the real Sentinel windows, skipped with a reason where it is absent."""
    if not (REAL / "catalog.json").exists():
        pytest.skip("real Sentinel windows not found beside the checkout (../shared/real)")
    return REAL
