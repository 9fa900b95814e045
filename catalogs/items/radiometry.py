"""Radiometric state: whether a Sentinel-2 scene's DN contain ESA's offset, decided from metadata, checked on pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tilewright.catalogs.errors import RadiometryError
from tilewright.catalogs.scene import BandAsset, Scene
from tilewright.catalogs.sensors import ESA_OFFSET, ESA_OFFSET_DN, SENTINEL_2, has_offset

RADIOMETRY_CHOICES = ("auto", "pixels", "metadata")

# If the DN contain the offset, a value below 1000 is a negative reflectance. In the visible bands this is rare over
# land and water (deep shadow and sensor noise, well under one in a thousand). Without the offset every dark surface has
# such values, so that a cloudy scene shows it even if only a hundredth of its pixels is clear.
DARK_SHARE = 0.01

LEAST_PIXELS = 25

# Visible bands: clear surfaces are dark there and never negative. Infrared reflectance is close to 0 over water.
CHECKED_BANDS = ("blue", "green", "coastal", "red", "rededge071")

# The fewest simultaneous connections that a provider allows (Copernicus Data Space, general users).
READS_AT_ONCE = 4

ReadOverview = Callable[[BandAsset], NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiometricState:
    """A scene's radiometric state, the offset of its reflectance (unitless), and the reason for both."""

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
    """The state of a scene from its metadata; `advertised` are the unitless offsets of its reflectance bands.

    The first that applies decides: a baseline below 04.00 has no offset, even if one is advertised; Earth Search's
    `flag`; the offsets of the bands; -0.1 for a source that serves ESA's unchanged DN. The date never decides.

    Raises:
        RadiometryError: none of these applies, and `radiometry` is auto.
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
    return _default_state(baseline, dn_as_esa=dn_as_esa, radiometry=radiometry)


def _default_state(baseline: str | None, *, dn_as_esa: bool, radiometry: str) -> RadiometricState:
    """The state of a scene whose item has neither flag nor offset."""
    if baseline is not None and dn_as_esa:
        reason = f"baseline {baseline}, and the source serves ESA's DN as they are"
        return RadiometricState(state="offset-in-dn", offset=ESA_OFFSET, reason=reason)
    stated = "names no processing baseline" if baseline is None else f"has baseline {baseline}"
    if radiometry == "metadata":
        return RadiometricState(state="offset-applied", offset=0.0, reason=f"{stated} and no offset: taken as none")
    if radiometry == "pixels":
        return RadiometricState(
            state="offset-in-dn", offset=ESA_OFFSET, reason=f"{stated} and no offset: pixels decide"
        )
    raise RadiometryError(
        f"{stated} and says nothing of an offset, so its reflectance cannot be known; "
        "set radiometry: pixels (look at them) or radiometry: metadata (no offset)"
    )


def dark_share(dn: NDArray[np.generic], nodata: float | None) -> float:
    """The share (0-1) of valid DN below 1000 in an overview (y, x); 0 if fewer than 25 pixels count.

    Pixels next to nodata or at the edge do not count, because an averaged overview may mix nodata into them.
    """
    valid = np.ones(dn.shape, bool) if nodata is None else dn != nodata
    valid &= dn != 0
    inner = _eroded(valid)
    n_valid = int(inner.sum())
    return float(np.less(dn[inner], ESA_OFFSET_DN).sum()) / n_valid if n_valid >= LEAST_PIXELS else 0.0


def _eroded(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True for pixels whose eight neighbours are all valid; False at the edges of the array."""
    padded = np.pad(valid, 1, constant_values=False)
    height, width = valid.shape
    result = valid.copy()
    for row in range(3):
        for col in range(3):
            result &= padded[row : row + height, col : col + width]
    return result


def pixel_contradiction(scene: Scene, read_overview: ReadOverview) -> str | None:
    """The reason why the pixels contradict that the scene's DN contain the offset, or None if they do not.

    Only scenes in state offset-in-dn are checked, on the first visible band that can be read; None without such a band.

    Raises:
        OSError: the scene has visible bands, and none could be read.
    """
    if scene.state != "offset-in-dn":
        return None
    failure: Exception | None = None
    for asset in _visible_assets(scene):
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


def verify_states(scenes: Sequence[Scene], *, radiometry: str, read_overview: ReadOverview) -> tuple[Scene, ...]:
    """The scenes in the same order, their states checked against their pixels; `state_reason` records the result.

    `radiometry` is auto (refuse a contradicted state), pixels (the pixels decide) or metadata (no check).

    Raises:
        RadiometryError: pixels contradict the metadata and `radiometry` is auto; the message names up to five items.
    """
    if radiometry == "metadata" or not any(scene.state == "offset-in-dn" for scene in scenes):
        return tuple(scenes)
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        checks = list(pool.map(lambda scene: _check_pixels(scene, read_overview), scenes))
    checked = list(zip(scenes, checks, strict=True))
    contradicted = [(scene, check.contradiction) for scene, check in checked if check.contradiction]
    if contradicted and radiometry == "auto":
        raise RadiometryError(_contradiction_message(contradicted))
    return tuple(_with_check(scene, check) for scene, check in checked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PixelCheck:
    contradiction: str | None = None
    failure: str | None = None


def _check_pixels(scene: Scene, read_overview: ReadOverview) -> _PixelCheck:
    try:
        return _PixelCheck(contradiction=pixel_contradiction(scene, read_overview))
    except OSError as error:
        return _PixelCheck(failure=type(error).__name__)


def _with_check(scene: Scene, check: _PixelCheck) -> Scene:
    """The scene after its check: corrected if its pixels contradict the state, else with the result in its reason."""
    if scene.state != "offset-in-dn":
        return scene
    if check.contradiction:
        assets = tuple(replace(asset, offset=0.0) if asset.unit == "reflectance" else asset for asset in scene.assets)
        reason = f"pixels: {check.contradiction}, against: {scene.state_reason}"
        return replace(scene, state="offset-applied", state_reason=reason, assets=assets)
    if check.failure:
        return replace(scene, state_reason=f"{scene.state_reason}; its pixels could not be looked at ({check.failure})")
    outcome = "pixels agree" if _visible_assets(scene) else "no visible band to look at"
    return replace(scene, state_reason=f"{scene.state_reason}; {outcome}")


def _visible_assets(scene: Scene) -> list[BandAsset]:
    assets = (scene.asset(band) for band in CHECKED_BANDS)
    return [asset for asset in assets if asset is not None and asset.unit == "reflectance" and asset.dtype[0] in "ui"]


def _contradiction_message(contradicted: Iterable[tuple[Scene, str | None]]) -> str:
    cases = [f"{scene.id} ({scene.state_reason}, but {contradiction})" for scene, contradiction in contradicted]
    more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
    return (
        f"metadata and pixels contradict each other on the offset of {'; '.join(cases[:5])}{more}. "
        "Set radiometry: pixels to believe the pixels, or radiometry: metadata to believe the items"
    )
