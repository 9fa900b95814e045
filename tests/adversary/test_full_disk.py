"""A disk that fills up at any moment of a COG: one sentence that says so, and nothing half is left."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest

from tests.support.cogs import PERCENT, write
from tilewright.tasks.cog.write import CogError

KILOBYTES = (4, 64, 200, 600, 1000, 1024, 1100, 1200, 1400, 1600, 1800, 1900)
"""Of the disk; the rows of the layer take 1100, its COG somewhat more beside them."""


@pytest.fixture
def disk(tmp_path, request):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("disk", KILOBYTES, indirect=True)
def test_a_cog_for_which_the_disk_is_too_small_says_so(disk):
    pixels = np.random.default_rng(1).integers(0, 100, (1024, 1024), np.uint8)
    with pytest.raises(CogError, match="disk is full"):
        write(disk / "confidence.tif", pixels, PERCENT)
    assert list(disk.iterdir()) == []
