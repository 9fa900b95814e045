"""Radiometric state: whether a Sentinel-2 scene's DN carry ESA's offset, from metadata and checked on pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.scene import BandAsset, Scene
from tilewright.catalogs.sensors import ESA_OFFSET, ESA_OFFSET_DN, SENTINEL_2, has_offset

BELIEFS = ("auto", "pixels", "metadata")

# With the offset in the DN a value below 1000 means negative reflectance. Over all land and water that is next to
# nothing in the visible bands (deep shadow and sensor noise, well under one in a thousand), while without it every
# dark surface lies there: one clear hundredth of a scene that is otherwise cloud is enough to tell.
DARK_SHARE = 0.01

LEAST_PIXELS = 25

# Visible bands, where nothing clear is bright and nothing real is negative; infrared ones are near 0 over water.
LOOKED_AT = ("blue", "green", "coastal", "red", "rededge071")

# What the stingiest provider allows of connections at a time (Copernicus Data Space, general users).
LOOKS_AT_ONCE = 4

ReadOverview = Callable[[BandAsset], NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiometricState:
    """Which offset the DN of a scene carry, in reflectance, and why that is believed."""

    state: str
    offset: float
    reason: str


def decide_state(
    *,
    collection: str,
    baseline: str | None,
    flag: bool | None,
    advertised: Sequence[float],
    dn_as_esa: bool,
    radiometry: str = "auto",
) -> RadiometricState:
    """The state metadata gives a scene; `advertised` are the offsets its measured bands name, in reflectance.

    In this order: a baseline below 04.00 has no offset, whatever is advertised; then Earth Search's flag decides; then
    what the bands advertise; then -0.1 for a source known to serve ESA's DN as they are. The date never decides.

    Raises:
        CatalogError: none of these says anything, and `radiometry` is auto.
    """
    if collection not in SENTINEL_2:
        return RadiometricState(state="not-applicable", offset=0.0, reason=f"{collection} has no ESA offset")
    if baseline is not None and not has_offset(baseline):
        return RadiometricState(state="no-offset", offset=0.0, reason=f"baseline {baseline} < 04.00")
    nonzero = [offset for offset in advertised if offset != 0]
    offset = nonzero[0] if nonzero else ESA_OFFSET
    if flag is not None:
        state, offset = ("offset-applied", 0.0) if flag else ("offset-in-dn", offset)
        reason = f"earthsearch:boa_offset_applied is {str(flag).lower()}"
        return RadiometricState(state=state, offset=offset, reason=reason)
    if advertised:
        state = "offset-in-dn" if nonzero else "offset-applied"
        offset = offset if nonzero else 0.0
        return RadiometricState(state=state, offset=offset, reason=f"its bands advertise offset {offset:g}")
    return _unsaid(baseline, dn_as_esa=dn_as_esa, radiometry=radiometry)


def _unsaid(baseline: str | None, *, dn_as_esa: bool, radiometry: str) -> RadiometricState:
    """The state of a scene whose item names neither flag nor offset."""
    if baseline is not None and dn_as_esa:
        reason = f"baseline {baseline}, and the source serves ESA's DN as they are"
        return RadiometricState(state="offset-in-dn", offset=ESA_OFFSET, reason=reason)
    said = "names no processing baseline" if baseline is None else f"has baseline {baseline}"
    if radiometry == "metadata":
        return RadiometricState(state="offset-applied", offset=0.0, reason=f"{said} and no offset: taken as none")
    if radiometry == "pixels":
        return RadiometricState(state="offset-in-dn", offset=ESA_OFFSET, reason=f"{said} and no offset: pixels decide")
    raise CatalogError(
        f"{said} and says nothing of an offset, so its reflectance cannot be known; "
        "set radiometry: pixels (look at them) or radiometry: metadata (no offset)"
    )


def dark_share(dn: NDArray[np.generic], nodata: float | None) -> float:
    """Share of valid DN below 1000 in an overview (H, W); 0 where fewer than 25 pixels can be judged.

    Pixels beside nodata or on the rim do not count: an averaged overview may have mixed nothing into them.
    """
    valid = np.ones(dn.shape, bool) if nodata is None else dn != nodata
    valid &= dn != 0
    inner = _eroded(valid)
    n_valid = int(inner.sum())
    return float(np.less(dn[inner], ESA_OFFSET_DN).sum()) / n_valid if n_valid >= LEAST_PIXELS else 0.0


def _eroded(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose eight neighbours are all valid; a rim of the array has none outside and drops out."""
    padded = np.pad(valid, 1, constant_values=False)
    height, width = valid.shape
    result = valid.copy()
    for row in range(3):
        for col in range(3):
            result &= padded[row : row + height, col : col + width]
    return result


def pixels_contradict(scene: Scene, read_overview: ReadOverview) -> str | None:
    """Why the pixels deny that the scene's DN still carry the offset, or None where they do not.

    Only a scene in state offset-in-dn is looked at, in its first visible band; one without any is not looked at.

    Raises:
        OSError: no visible band could be read.
    """
    if scene.state != "offset-in-dn":
        return None
    failure: Exception | None = None
    for asset in _visible(scene):
        try:
            overview = read_overview(asset)
        except OSError as error:
            failure = error
            continue
        share = dark_share(overview, asset.nodata)
        return f"{share:.0%} of the valid DN of {asset.band} lie below 1000" if share > DARK_SHARE else None
    if failure is not None:
        raise failure
    return None


def settle(scenes: Sequence[Scene], *, radiometry: str, read_overview: ReadOverview) -> tuple[Scene, ...]:
    """The scenes with their claims checked against their pixels, in the same order, what was found in `state_reason`.

    auto refuses a contradicted claim, pixels believes the pixels, metadata does not look.

    Raises:
        CatalogError: pixels contradict the metadata and `radiometry` is auto; every such item is named.
    """
    if radiometry == "metadata" or not any(scene.state == "offset-in-dn" for scene in scenes):
        return tuple(scenes)
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        looks = list(pool.map(lambda scene: _look(scene, read_overview), scenes))
    denied = [(scene, look.denial) for scene, look in zip(scenes, looks, strict=True) if look.denial]
    if denied and radiometry == "auto":
        raise CatalogError(_refusal(denied))
    return tuple(_settled(scene, look) for scene, look in zip(scenes, looks, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    denial: str | None = None
    failure: str | None = None


def _look(scene: Scene, read_overview: ReadOverview) -> _Look:
    try:
        return _Look(denial=pixels_contradict(scene, read_overview))
    except OSError as error:
        return _Look(failure=type(error).__name__)


def _settled(scene: Scene, look: _Look) -> Scene:
    """The scene as its pixels leave it: denied, agreed, or not to be seen (the claim stands, and says so)."""
    if scene.state != "offset-in-dn":
        return scene
    if look.denial:
        assets = tuple(replace(asset, offset=0.0) if asset.unit == "reflectance" else asset for asset in scene.assets)
        reason = f"pixels: {look.denial}, against: {scene.state_reason}"
        return replace(scene, state="offset-applied", state_reason=reason, assets=assets)
    if look.failure:
        return replace(scene, state_reason=f"{scene.state_reason}; its pixels could not be looked at ({look.failure})")
    seen = "pixels agree" if _visible(scene) else "no visible band to look at"
    return replace(scene, state_reason=f"{scene.state_reason}; {seen}")


def _visible(scene: Scene) -> list[BandAsset]:
    found = (scene.asset(band) for band in LOOKED_AT)
    return [asset for asset in found if asset is not None and asset.unit == "reflectance" and asset.dtype[0] in "ui"]


def _refusal(denied: Iterable[tuple[Scene, str | None]]) -> str:
    cases = [f"{scene.id} ({scene.state_reason}, but {denial})" for scene, denial in denied]
    more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
    return (
        f"metadata and pixels contradict each other on the offset of {'; '.join(cases[:5])}{more}. "
        "Set radiometry: pixels to believe the pixels, or radiometry: metadata to believe the items"
    )
