"""The band that a name means in each of the items found: its own name first, then a common one that no other shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tilewright.catalogs.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilewright.catalogs.scene import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class BandNames:
    """The names of one band of an item: `band` is the scene's, `own` are this band's alone, `common` may be shared."""

    band: str
    own: tuple[str, ...]
    common: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedScene:
    """A scene with the names of its bands."""

    scene: Scene
    names: tuple[BandNames, ...]

    def own(self, asked: str) -> BandNames | None:
        """The band whose own name was asked for, as written or else in another case; None without one."""
        lower = asked.lower()
        ways = (
            lambda names: asked == names.own[0] or asked == names.band != names.common,
            lambda names: asked in names.own,
            lambda names: lower in {name.lower() for name in (names.band, *names.own)} and names.band != names.common,
        )
        return next((names for way in ways for names in self.names if way(names)), None)

    def sharing(self, asked: str) -> list[BandNames]:
        """The bands whose common name was asked for."""
        return [names for names in self.names if names.common and names.common.lower() == asked.lower()]


def with_asked_bands(named: Sequence[NamedScene], asked: Sequence[str]) -> tuple[Scene, ...]:
    """The scenes in the same order; a band that was asked for by another of its names is there under that name too.

    A name that is some band's own is never taken as the common name of another band beside it: in a collection that has
    `green_i` and `green`, both of common name green, a scene with `green_i` alone has no `green`.

    Raises:
        CatalogError: a name that is the own name of no band, and the common name of several bands of one item.
    """
    scenes = [entry.scene for entry in named]
    for name in asked:
        meant = _meant(named, name)
        for position, (scene, band) in enumerate(zip(scenes, meant, strict=True)):
            known = scene.asset(name)
            if band is None and known is not None:
                # It is called by a common name that in other items is another band's own.
                own = next(names.own[0] for names in named[position].names if names.band == name)
                assets = (replace(asset, band=own) if asset is known else asset for asset in scene.assets)
                scenes[position] = replace(scene, assets=tuple(assets))
            elif band is not None and known is None:
                more = (replace(asset, band=name) for asset in scene.assets if asset.band == band)
                scenes[position] = replace(scene, assets=(*scene.assets, *more))
    return tuple(scenes)


def _meant(named: Sequence[NamedScene], asked: str) -> list[str | None]:
    """The scene's name of the band that was asked for, per scene; None for a scene that lacks it."""
    own = [entry.own(asked) for entry in named]
    beside = {
        names.own[0]
        for entry, found in zip(named, own, strict=True)
        if found is not None
        for names in entry.sharing(asked)
        if names != found
    }
    meant: list[str | None] = []
    for entry, found in zip(named, own, strict=True):
        sharing = [names for names in entry.sharing(asked) if names.own[0] not in beside]
        if found is None and len(sharing) > 1:
            shown = ", ".join(names.own[0] for names in sharing)
            raise CatalogError(
                f"{asked} is the common name of {shown} in item {entry.scene.id}: ask for one by its own name"
            )
        chosen = found or next(iter(sharing), None)
        meant.append(None if chosen is None else chosen.band)
    return meant
