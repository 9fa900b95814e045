"""What the catalogs refuse."""

from __future__ import annotations


class CatalogError(ValueError):
    """A source, an item or an href that is refused: what was given, what was expected, what to do."""


class UnknownCollectionError(CatalogError):
    """A source does not have the collection asked for, under any name."""
