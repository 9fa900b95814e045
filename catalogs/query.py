"""What is asked of a source, and what it hands back before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Collections in the source's own names, an area (EPSG:4326) and a period with both ends, None where open.

    `limit_items` is what a source may hand back at most.
    """

    collections: tuple[str, ...]
    aoi: BaseGeometry
    start: datetime | None
    end: datetime | None
    limit_items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawItem:
    """An item as the source wrote it, and where it was read; None where it says so itself or it does not matter."""

    item: Mapping[str, Any]
    location: str | None
