"""Errors that the catalogs raise."""

from __future__ import annotations


class CatalogError(ValueError):
    """A source, an item or an href that is refused: what was given, what was expected, what to do."""


class UnknownCollectionError(CatalogError):
    """The source does not have the requested collection under any of its names."""


class RefusedRequestError(CatalogError):
    """A request, or a redirect of one, that leads to a place to which its source must not lead."""


class RadiometryError(CatalogError):
    """An item whose reflectance depends on an answer of the user: the job's `radiometry`, or a description."""
