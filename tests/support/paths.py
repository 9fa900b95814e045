"""Folders that tests look into: the checkout, and the real Sentinel windows next to it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "real"
