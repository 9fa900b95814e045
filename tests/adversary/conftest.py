"""Products that are left half, for all files of tests that begin from them."""

from __future__ import annotations

from tests.support.halves import blocks_done, changed, jobs, parts, product

__all__ = ["blocks_done", "changed", "jobs", "parts", "product"]
