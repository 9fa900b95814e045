"""Radiometric state: whether a Sentinel-2 scene's DN contain ESA's offset, decided from metadata, checked on pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tilewright.catalogs.errors import RadiometryError
from tilewright.catalogs.items.darkness import DARK_SHARE, PLAIN_SHARE, BandLook, Verdict, dark_share, judge
from tilewright.catalogs.scene import BandAsset, Scene
from tilewright.catalogs.sensors import ESA_OFFSET, SENTINEL_2, has_offset

__all__ = [
    "DARK_SHARE",
    "RADIOMETRY_CHOICES",
    "RadiometricState",
    "dark_share",
    "decide_state",
    "pixel_contradiction",
    "pixel_verdict",
    "verify_states",
]

RADIOMETRY_CHOICES = ("auto", "pixels", "metadata")

# Visible bands: clear surfaces are dark there and never negative. Infrared reflectance is close to 0 over water.
CHECKED_BANDS = ("blue", "green", "coastal", "red", "rededge071")

# The most visible bands that are looked at.
MOST_LOOKS = 3

# The fewest simultaneous connections that a provider allows (Copernicus Data Space, general users).
READS_AT_ONCE = 4

PIXELS_DECIDE, TAKEN_AS_NONE = "pixels decide", "taken as none"
"""The ends of the reasons for a state of which the metadata say nothing."""

ADVERTISED = "its bands advertise offset"
"""The beginning of the reason where the bands of the item, or the source, say the offset and nothing else does."""

PHYSICAL = "its files hold reflectance itself"
"""The reason where bands are said to be floats with no scale."""

STATE_THEM = "state scale and offset (and dtype: float32, where files hold reflectance itself) in the source's bands"

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
        return RadiometricState(state=state, offset=offset, reason=f"{ADVERTISED} {offset:g}")
    return _default_state(baseline, dn_as_esa=dn_as_esa, radiometry=radiometry)


def _default_state(baseline: str | None, *, dn_as_esa: bool, radiometry: str) -> RadiometricState:
    """The state of a scene whose item has neither flag nor offset."""
    if baseline is not None and dn_as_esa:
        reason = f"baseline {baseline}, and the source serves ESA's DN as they are"
        return RadiometricState(state="offset-in-dn", offset=ESA_OFFSET, reason=reason)
    stated = "names no processing baseline" if baseline is None else f"has baseline {baseline}"
    if radiometry == "metadata":
        return RadiometricState(state="offset-applied", offset=0.0, reason=f"{stated} and no offset: {TAKEN_AS_NONE}")
    if radiometry == "pixels":
        return RadiometricState(
            state="offset-in-dn", offset=ESA_OFFSET, reason=f"{stated} and no offset: {PIXELS_DECIDE}"
        )
    raise RadiometryError(
        f"{stated} and says nothing of an offset, so its reflectance cannot be known; "
        f"{STATE_THEM}, or set radiometry: pixels (look at them) or radiometry: metadata (no offset)"
    )


def pixel_contradiction(scene: Scene, read_overview: ReadOverview) -> str | None:
    """The reason why the pixels contradict that the scene's DN contain the offset, or None if they do not.

    Raises:
        OSError: the scene has visible bands, and none could be read.
    """
    verdict = pixel_verdict(scene, read_overview)
    return verdict.reason if verdict is not None and verdict.word == "contradict" else None


def pixel_verdict(scene: Scene, read_overview: ReadOverview) -> Verdict | None:
    """The verdict of the pixels on a scene in state offset-in-dn; None for other scenes.

    The first visible band that can be read settles it, unless it contradicts with less than half of its pixels: then up
    to two more and the scene classes are looked at, and all bands must.

    Raises:
        OSError: the scene has visible bands, and none could be read.
    """
    if scene.state != "offset-in-dn":
        return None
    looks: list[BandLook] = []
    classes: NDArray[np.generic] | None = None
    failure: OSError | None = None
    for asset in _visible_assets(scene):
        try:
            looks.append(BandLook(band=asset.band, dn=_measured(asset, read_overview(asset)), nodata=asset.nodata))
        except OSError as error:
            failure = error
            continue
        if len(looks) == 1:
            first = judge(looks)
            if first.word != "contradict" or dark_share(looks[0].dn, asset.nodata) > PLAIN_SHARE:
                return first
            classes = _scene_classes(scene, read_overview)
        if len(looks) == MOST_LOOKS:
            break
    if failure is not None and not looks:
        raise failure
    return judge(looks, classes)


def _measured(asset: BandAsset, overview: NDArray[np.generic]) -> NDArray[np.generic]:
    """The overview with 0 for every marker that is stated besides the first."""
    for marker in asset.more_nodata:
        overview = np.where(overview == marker, overview.dtype.type(0), overview)
    return overview


def _scene_classes(scene: Scene, read_overview: ReadOverview) -> NDArray[np.generic] | None:
    """The scene classes (y, x), None where the scene has none that can be read."""
    asset = scene.asset("scl")
    if asset is None:
        return None
    with suppress(OSError):
        return read_overview(asset)
    return None


def verify_states(scenes: Sequence[Scene], *, radiometry: str, read_overview: ReadOverview) -> tuple[Scene, ...]:
    """The scenes in the same order, their states checked against their pixels; `state_reason` records the result.

    `radiometry` is auto (refuse a contradicted state), pixels (the pixels decide) or metadata (no check).

    Raises:
        RadiometryError: pixels contradict the metadata and `radiometry` is auto; or pixels are to decide, and neither
            those of a scene tell nor those of the others with one voice. The message names up to five items.
    """
    if radiometry == "metadata" or not any(scene.state == "offset-in-dn" for scene in scenes):
        return tuple(scenes)
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        checks = list(pool.map(lambda scene: _check_pixels(scene, read_overview), scenes))
    checked = list(zip(scenes, checks, strict=True))
    contradicted = [(scene, check.contradiction) for scene, check in checked if check.contradiction]
    if contradicted and radiometry == "auto":
        raise RadiometryError(_contradiction_message(contradicted))
    return tuple(_with_check(scene, check) for scene, check in _settled(checked))


@dataclass(frozen=True, slots=True, kw_only=True)
class _PixelCheck:
    verdict: Verdict | None = None
    failure: str | None = None
    of_others: bool = False

    @property
    def contradiction(self) -> str | None:
        return self.verdict.reason if self.verdict is not None and self.verdict.word == "contradict" else None

    @property
    def tells(self) -> bool:
        return self.verdict is not None and self.verdict.word != "undecided"

    @property
    def silence(self) -> str:
        return self.verdict.reason if self.verdict else f"its pixels could not be looked at: {self.failure}"


def _settled(checked: Sequence[tuple[Scene, _PixelCheck]]) -> list[tuple[Scene, _PixelCheck]]:
    """The checks; a scene whose pixels are to decide and tell nothing (all cloud) has that of the others of its source,
    collection and stated baseline.

    Raises:
        RadiometryError: there are none that tell, or they tell different things.
    """
    voices: dict[tuple[str, ...], dict[str, _PixelCheck]] = {}
    for scene, check in checked:
        if _is_asked(scene) and check.tells and check.verdict is not None:
            voices.setdefault(_kind(scene), {})[check.verdict.word] = replace(check, of_others=True)
    found, silent = [], []
    for scene, check in checked:
        heard = [*voices.get(_kind(scene), {}).values()] if scene.baseline is not None else []
        if not _is_asked(scene) or check.tells:
            found.append((scene, check))
        elif len(heard) == 1:
            found.append((scene, heard[0]))
        else:
            silent.append(f"{scene.id} ({check.silence})")
    if silent:
        more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
        raise RadiometryError(
            f"nothing tells whether the DN of {'; '.join(silent[:5])}{more} hold ESA's offset: {STATE_THEM}, or leave "
            "these scenes out"
        )
    return found


def _is_asked(scene: Scene) -> bool:
    """True for a scene of whose offset the metadata say nothing, so that its pixels are to decide."""
    return scene.state_reason.endswith(PIXELS_DECIDE)


def _kind(scene: Scene) -> tuple[str, ...]:
    return scene.source, scene.collection, scene.baseline or ""


def _check_pixels(scene: Scene, read_overview: ReadOverview) -> _PixelCheck:
    try:
        return _PixelCheck(verdict=pixel_verdict(scene, read_overview))
    except OSError as error:
        return _PixelCheck(failure=type(error).__name__)


def _with_check(scene: Scene, check: _PixelCheck) -> Scene:
    """The scene after its check: corrected if its pixels contradict the state, else with the result in its reason."""
    if scene.state != "offset-in-dn":
        return scene
    if check.contradiction:
        assets = tuple(replace(asset, offset=0.0) if asset.unit == "reflectance" else asset for asset in scene.assets)
        whose = "pixels of other scenes" if check.of_others else "pixels"
        reason = f"{whose}: {check.contradiction}, against: {scene.state_reason}"
        return replace(scene, state="offset-applied", state_reason=reason, assets=assets)
    if check.verdict is None:
        return replace(scene, state_reason=f"{scene.state_reason}; its pixels could not be looked at ({check.failure})")
    agrees = check.verdict.word == "agree"
    whose = "pixels of other scenes" if check.of_others else "pixels"
    outcome = f"{whose} agree" if agrees else f"pixels undecided: {check.verdict.reason}"
    return replace(scene, state_reason=f"{scene.state_reason}; {outcome}")


def _visible_assets(scene: Scene) -> list[BandAsset]:
    assets = (scene.asset(band) for band in CHECKED_BANDS)
    whole = [asset for asset in assets if asset is not None and asset.dtype[0] in "ui"]
    return [asset for asset in whole if asset.unit == "reflectance" and asset.offset]


def _contradiction_message(contradicted: Iterable[tuple[Scene, str | None]]) -> str:
    cases = [f"{scene.id} ({scene.state_reason}, but {contradiction})" for scene, contradiction in contradicted]
    more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
    return (
        f"metadata and pixels contradict each other on the offset of {'; '.join(cases[:5])}{more}. "
        "Set radiometry: pixels to believe the pixels, or radiometry: metadata to believe the items"
    )
