"""A look at a few headers of every input's files, so that what is wrong with them is said before any pixel is read."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLateError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from pyproj.exceptions import CRSError

from tilewright.catalogs.hrefs import display_href
from tilewright.catalogs.items.radiometry import ADVERTISED, PHYSICAL, TAKEN_AS_NONE
from tilewright.catalogs.sensors import BANDS, SENTINEL_2
from tilewright.catalogs.sources.registry import sign_href
from tilewright.flows.environment import reading_settings
from tilewright.flows.job.job import JobError
from tilewright.tasks.grid.crs import same_crs
from tilewright.tasks.read.gdal import read_header
from tilewright.tasks.read.resample.pixels import held_marker
from tilewright.tasks.read.retry import RetryPolicy, UnreadableError, read_with_retries
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.catalogs.sources.source import Source, Sources
    from tilewright.flows.plan.scenes import InputScenes
    from tilewright.models.card.card import ModelCard
    from tilewright.models.spec.inputs import InputSpec
    from tilewright.tasks.read.header import FileHeader


MOST_FILES = 60
"""Files looked at per plan: each input's bands in its first, middle and last scene and in each product, as far as these
go."""

AT_ONCE = 8

BUDGET_S = 20.0
"""Seconds after which the looks that have not come back are given up."""

QUICK = {"GDAL_HTTP_CONNECTTIMEOUT": "5", "GDAL_HTTP_TIMEOUT": "10", "GDAL_HTTP_LOW_SPEED_TIME": "5"}
"""GDAL's settings of a look over those of a block's reads."""

POLICY = RetryPolicy(attempts=3, first_wait_s=0.2, longest_wait_s=1.0, probe_timeout_s=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderLook:
    """A band of a scene with the header of its file, or with the reason why there is none.

    ``final``: the reason holds for every later read.
    """

    scene: Scene
    asset: BandAsset
    header: FileHeader | None
    reason: str = ""
    final: bool = False


def look_at_headers(
    card: ModelCard, scenes: Mapping[str, InputScenes], sources: Sources, *, mask_bands: Sequence[str] = ()
) -> tuple[dict[str, InputScenes], tuple[str, ...]]:
    """The scenes as their files' headers say they are to be read, and warnings; ``mask_bands`` are looked at too.

    Scale and offset of a header are taken where nobody else states any, and places that contradict a file are dropped.
    A band none of whose files could be looked at is taken to have none: a file that has is refused when it is read.

    Raises JobError where every file looked at of a required band is unreadable for good, and for a product whose Item
    and files contradict each other.
    """
    looks = _looks(card, scenes, sources, mask_bands)
    seen = dict(scenes)
    said: list[str] = []
    for spec in card.inputs:
        for band in dict.fromkeys([*spec.source_bands, *mask_bands]):
            of_band = looks.get((spec.name, band), [])
            said += _failures(spec, band, of_band)
            known = [look for look in of_band if look.header is not None and not look.reason]
            for look in known:
                _check_untold_offset(spec, look)
            said += [f"Input {spec.name}, band {band}: {words}." for words in _contradictions(known)]
            seen[spec.name] = _corrected(seen[spec.name], spec, band, known)
    return seen, tuple(dict.fromkeys(said))


def _looks(
    card: ModelCard, scenes: Mapping[str, InputScenes], sources: Sources, mask_bands: Sequence[str]
) -> dict[tuple[str, str], list[HeaderLook]]:
    """The looks by input and band."""
    candidates = {
        (spec.name, band): _picked(_there(scenes[spec.name].touching, sources), band)
        for spec in card.inputs
        for band in dict.fromkeys([*spec.source_bands, *mask_bands])
    }
    wanted = [
        (name, band, *picked[rank])
        for rank in range(max(map(len, candidates.values()), default=0))
        for (name, band), picked in candidates.items()
        if rank < len(picked)
    ]
    stated = {(scene.source, asset.href): asset.crs for *_, scene, asset in wanted}
    files = list(stated)[:MOST_FILES]
    until, extra = time.monotonic() + BUDGET_S, {**reading_settings(), **QUICK}
    pool = ThreadPoolExecutor(AT_ONCE)
    asked = {
        (name, href): pool.submit(_header, href, stated[name, href], sources.named(name), extra) for name, href in files
    }
    found: dict[tuple[str, str], list[HeaderLook]] = {}
    try:
        for name, band, scene, asset in wanted:
            if (scene.source, asset.href) in asked:
                look = _look(scene, asset, asked[scene.source, asset.href], until)
                found.setdefault((name, band), []).append(look)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return found


def _there(scenes: Sequence[Scene], sources: Sources) -> list[Scene]:
    """The scenes without products that are yet to be made."""
    return [scene for scene in scenes if sources.named(scene.source).promised is None]


def _picked(scenes: Sequence[Scene], band: str) -> list[tuple[Scene, BandAsset]]:
    """The first, the last and the middle scene of those that have a band, and every product, each once."""
    having = [(scene, asset) for scene in scenes if (asset := scene.asset(band)) is not None]
    places = dict.fromkeys([0, len(having) - 1, len(having) // 2]) if having else {}
    # Products are few, and each says by itself what it is.
    places |= dict.fromkeys(place for place, (scene, _) in enumerate(having) if scene.made)
    return [having[place] for place in places]


def _header(href: str, crs: str, source: Source, extra: Mapping[str, str]) -> FileHeader:
    return read_with_retries(
        lambda signed, _: read_header(href, signed=signed, extra=extra, rules=source.rules, crs=crs),
        href=href,
        sign=lambda: sign_href(source, href),
        policy=POLICY,
        rules=source.rules,
    )


def _look(scene: Scene, asset: BandAsset, asked: Future[FileHeader], until: float) -> HeaderLook:
    try:
        header = asked.result(timeout=max(0.0, until - time.monotonic()))
    except TooLateError:
        return HeaderLook(scene=scene, asset=asset, header=None, reason=f"no answer in {BUDGET_S:g} s")
    except UnreadableError as error:
        return HeaderLook(scene=scene, asset=asset, header=None, reason=str(error), final=error.final)
    reason = header.refusal(asset)
    if reason is None and scene.made and (unlike := _unlike_its_item(asset, header)):
        # Its pixels could be read, and would be wrong.
        raise JobError(
            f"Item {scene.id}, band {asset.band}: {unlike}. Run the job of {display_href(scene.href)} again."
        )
    return HeaderLook(scene=scene, asset=asset, header=header, reason=reason or "", final=reason is not None)


def _unlike_its_item(asset: BandAsset, header: FileHeader) -> str | None:
    """The reason why a file is not the layer that its product's Item says it is; both were written at once."""
    place = asset.index - 1
    own, names = header.descriptions[place], {asset.band, asset.key, *asset.band_names[place : asset.index]}
    told: list[tuple[str, object, object]] = [
        ("type", asset.dtype, header.dtypes[place]),
        ("nodata", asset.nodata, header.nodata[place]),
    ]
    if asset.unit != "class":
        found = header.calibration(asset.index)
        told += [("scale", asset.scale, found[0]), ("offset", asset.offset, found[1])]
    unlike = [("layer", asset.key, own)] if own and own not in names else []
    unlike += [(what, str(stated), str(written)) for what, stated, written in told if not _alike(stated, written)]
    if not unlike:
        return None
    what, stated, written = unlike[0]
    return f"the product's Item says {what} {stated}, and its file {written}: somebody changed one of them"


def _alike(stated: object, written: object) -> bool:
    """True for the same text, and for numbers that are the same but for their writing; NaN is itself."""
    if isinstance(stated, float) and isinstance(written, float):
        return bool(np.isclose(stated, written, rtol=1e-9, atol=0, equal_nan=True))
    return stated == written


def _failures(spec: InputSpec, band: str, looks: Sequence[HeaderLook]) -> Iterator[str]:
    """Warnings about files that cannot be read; JobError if that is every one of a required input, for good."""
    failed = [look for look in looks if look.reason]
    if not failed:
        return
    first = failed[0]
    shown = f"Input {spec.name}, band {band} of item {first.scene.id}: {first.reason}"
    of = f"{len(failed)} of {plural(len(looks), 'file')} looked at"
    if all(look.final for look in looks) and not spec.optional:
        raise JobError(f"{shown} ({of}).")
    yield f"{shown} ({of} cannot be read)."


def _contradictions(looks: Sequence[HeaderLook]) -> Iterator[str]:
    """The differences between items and headers, each with the first item that it is true of."""
    said: set[str] = set()
    for look in looks:
        assert look.header is not None, "only looks with a header are compared"
        for kind, words in _differences(look.scene, look.asset, look.header):
            if kind not in said:
                said.add(kind)
                yield f"item {look.scene.id} {words}"


def _differences(scene: Scene, asset: BandAsset, header: FileHeader) -> Iterator[tuple[str, str]]:
    """(kind, words) of every difference between a band's item and its file."""
    dtype = header.dtypes[asset.index - 1]
    for marker in [] if asset.nodata is None else [asset.nodata, *asset.more_nodata]:
        if math.isfinite(marker) and held_marker(marker, np.dtype(dtype)) is None:
            yield "nodata", f"states nodata {marker:g}, which {dtype} cannot hold: it marks nothing"
        elif not math.isfinite(marker) and np.dtype(dtype).kind != "f":
            yield "nodata", f"states nodata {marker}, which {dtype} cannot hold: it marks nothing"
    if asset.dtype != dtype and (asset.dtype != "float32" or scene.collection in BANDS):
        yield "dtype", f"has {asset.dtype} for data type, its file {dtype}: the file's numbers are taken as they are"
    if not _same_place(asset, header):
        yield "place", "states another place than its file (proj: fields): the file's is used"
    found = header.calibration(asset.index)
    # Files of Earth Search may state -0.1 whatever their pixels hold, which its flag and the baseline tell.
    told = scene.collection not in SENTINEL_2 or scene.state_reason.startswith((ADVERTISED, PHYSICAL))
    offset = asset.offset if told else found[1]
    differs = not np.allclose(found, (asset.scale, offset), rtol=1e-6, atol=1e-12)
    if asset.calibration in {"stated", "item"} and asset.unit != "class" and found != (1.0, 0.0) and differs:
        theirs = f"the file scale {found[0]:g} and offset {found[1]:g}, which are not used"
        yield "scale", f"or its source states scale {asset.scale:g} and offset {asset.offset:g}, {theirs}"


def _check_untold_offset(spec: InputSpec, look: HeaderLook) -> None:
    """Raise JobError for a file that states an offset of which its item says nothing, and that was taken as none."""
    asset, header = look.asset, look.header
    if header is None or asset.unit != "reflectance" or not look.scene.state_reason.endswith(TAKEN_AS_NONE):
        return
    if (offset := header.calibration(asset.index)[1]) != 0:
        raise JobError(
            f"Input {spec.name}, band {asset.band}: item {look.scene.id} says nothing of an offset, which radiometry: "
            f"metadata takes as none, and its file says {offset:g}: state scale and offset in the source's bands."
        )


def _same_place(asset: BandAsset, header: FileHeader) -> bool:
    """True unless the item's CRS, or the extent by its shape and transform, differs from the file's by a pixel."""
    try:
        if asset.crs and not same_crs(asset.crs, header.crs):
            return False
    except CRSError:
        # A code that nobody knows is no place either.
        return False
    if asset.shape is None or asset.transform is None:
        return True
    stated, found = _corners(asset.shape, Affine(*asset.transform)), _corners(header.shape, header.transform)
    pixel = math.sqrt(abs(header.transform.determinant))
    return all(math.dist(a, b) <= pixel for a, b in zip(stated, found, strict=True))


def _corners(shape: tuple[int, int], transform: Affine) -> list[tuple[float, float]]:
    """The four corners, in an order that does not depend on how the rows and columns run."""
    height, width = shape
    return sorted(transform * corner for corner in ((0, 0), (width, 0), (0, height), (width, height)))


def _corrected(found: InputScenes, spec: InputSpec, band: str, looks: Sequence[HeaderLook]) -> InputScenes:
    """The input's scenes with the band's scale and offset of the headers, and without places that contradict files."""
    headers = [(look.asset, look.header) for look in looks if look.header is not None]
    changes: dict[str, object] = {}
    if not all(_same_place(asset, header) for asset, header in headers):
        changes |= {"crs": "", "shape": None, "transform": None}
    uncalibrated = {header.calibration(asset.index) for asset, header in headers if asset.calibration == "none"}
    if len(uncalibrated) > 1:
        (first, second), *_ = [sorted(uncalibrated)[:2]]
        raise JobError(
            f"Input {spec.name}, band {band}: its items state no scale, and the headers of its files differ, e.g. "
            f"scale {first[0]:g}, offset {first[1]:g} and scale {second[0]:g}, offset {second[1]:g}. State scale and "
            "offset in the source's bands."
        )
    # Their headers are not used, and that was said.
    if any(asset.calibration == "item" and header.contradiction(asset) for asset, header in headers):
        changes |= {"calibration": "stated"}
    unseen = not uncalibrated and any(_is_uncalibrated(scene.asset(band)) for scene in found.scenes)
    if not changes and not uncalibrated and not unseen:
        return found
    scale_offset = next(iter(uncalibrated), (1.0, 0.0))
    scenes = {scene.id: _with_band(scene, band, changes, scale_offset) for scene in found.scenes}
    return replace(
        found,
        scenes=tuple(scenes.values()),
        touching=tuple(_with_band(scene, band, changes, scale_offset) for scene in found.touching),
    )


def _is_uncalibrated(asset: BandAsset | None) -> bool:
    return asset is not None and asset.calibration == "none"


def _with_band(scene: Scene, band: str, changes: Mapping[str, object], scale_offset: tuple[float, float]) -> Scene:
    """The scene with changed fields of one band, and its scale and offset if nobody stated any."""

    def changed(asset: BandAsset) -> BandAsset:
        if asset.band != band:
            return asset
        fields = dict(changes)
        if _is_uncalibrated(asset):
            fields |= {"scale": scale_offset[0], "offset": scale_offset[1], "calibration": "header"}
        return replace(asset, **fields) if fields else asset  # type: ignore[arg-type]

    return replace(scene, assets=tuple(map(changed, scene.assets)))
