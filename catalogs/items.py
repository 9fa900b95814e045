"""Any provider's STAC Item in one normal form."""

from __future__ import annotations

from catalogs.scene import BandAsset, Scene

__all__ = ["BandAsset", "Scene"]
