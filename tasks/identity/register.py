"""The identities that a process holds its inputs to: those of the plan, else those taken when a file is first read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tilewright.tasks.identity.web import NoIdentityError

if TYPE_CHECKING:
    from tilewright.catalogs.scene import BandAsset, Scene


Identify = Callable[[str, str], str | None]
"""(href, the href as it can be opened now) -> its identity now; None, or NoIdentityError, where it is not told."""


def file_name(scene: Scene, asset: BandAsset) -> str:
    """The name of a scene's file in a ledger entry, which holds no href since an href may hold a secret."""
    return f"{scene.collection} {scene.id} {asset.band}"


class Register:
    """The first identities of files of whose the plan knows none, one for each href. Thread-safe."""

    def __init__(self) -> None:
        self._first: dict[str, str | None] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def held(self, asset: BandAsset, sign: Callable[[], str], identify: Identify) -> BandAsset:
        """The asset with the identity that its reads are held to, which is None where the file's is not told."""
        if asset.identity is not None:
            return asset
        first = self._first_of(asset.href, sign, identify)
        return asset if first is None else replace(asset, identity=first)

    def first_read(self, scenes: list[Scene]) -> dict[str, str]:
        """Identity by "collection item band" of the files of scenes that were first identified when they were read."""
        with self._lock:
            known = {href: identity for href, identity in self._first.items() if identity is not None}
        if not known:
            return {}
        return {
            file_name(scene, asset): known[asset.href]
            for scene in scenes
            for asset in scene.assets
            if asset.identity is None and asset.href in known
        }

    def _first_of(self, href: str, sign: Callable[[], str], identify: Identify) -> str | None:
        with self._lock:
            if href in self._first:
                return self._first[href]
            own = self._locks.setdefault(href, threading.Lock())
        with own:
            if href not in self._first:
                found = _asked(href, sign, identify)
                with self._lock:
                    self._first[href] = found
        return self._first[href]


def _asked(href: str, sign: Callable[[], str], identify: Identify) -> str | None:
    try:
        return identify(href, sign())
    except NoIdentityError:
        return None
