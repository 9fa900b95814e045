"""The files that a plan reads and their identities: which there are, how far they are told, and how they are put in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tilewright.catalogs.hrefs import display_href
from tilewright.tasks.identity.identity import strength

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a file: the identity that keys hold and, where that is a verified checksum, its stamp."""

    identity: str | None
    stamp: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedFile:
    """A file that a plan reads, as the first band that names it says; `checksums` are all that bands state for it.

    `source`: the name of the source of its scene.
    """

    item: str
    source: str
    asset: BandAsset
    checksums: tuple[str, ...] = ()


def used_files(plan: Plan) -> dict[str, UsedFile]:
    """The files that a plan reads by href: of every scene the bands of its input and of the mask."""
    found: dict[str, UsedFile] = {}
    for entry in plan.inputs:
        for scene in entry.scenes:
            for asset in _used_assets(entry, scene):
                file = found.get(asset.href) or UsedFile(item=scene.id, source=scene.source, asset=asset)
                if asset.checksum and asset.checksum not in file.checksums:
                    file = replace(file, checksums=(*file.checksums, asset.checksum))
                found[asset.href] = file
    return found


def with_identities(plan: Plan, found: Mapping[str, Known]) -> Plan:
    """The plan with these identities, by href, of the files that it reads."""

    def changed(entry: InputPlan, scene: Scene) -> Scene:
        used = {asset.band for asset in _used_assets(entry, scene) if asset.href in found}
        if not used:
            return scene
        assets = tuple(
            replace(asset, identity=found[asset.href].identity, stamp=found[asset.href].stamp)
            if asset.band in used
            else asset
            for asset in scene.assets
        )
        return replace(scene, assets=assets)

    return replace(
        plan,
        inputs=tuple(
            replace(entry, scenes=tuple(changed(entry, scene) for scene in entry.scenes)) for entry in plan.inputs
        ),
    )


def keep_same(plan: Plan, earlier: Plan) -> Plan:
    """A new plan with the identities of an earlier one for files that are not told now, or told in another way.

    A file that is not told is held to its earlier identity while it is read. One whose stamp is what its identity was,
    or the other way round, is the same file, verified by a checksum the one time and not the other.
    """
    before = {href: file.asset for href, file in used_files(earlier).items()}
    found = {}
    for href, file in used_files(plan).items():
        old, new = before.get(href), file.asset
        if old is None or old.identity is None or old.identity == new.identity:
            continue
        if new.identity is None or (old.holding is not None and old.holding == new.holding):
            found[href] = Known(identity=old.identity, stamp=old.stamp)
    return with_identities(plan, found) if found else plan


def input_warnings(plan: Plan, *, checksums: bool = False) -> Iterator[str]:
    """What is not known of the inputs of a plan, in sentences. They are no part of it: an answer may come tomorrow.

    `checksums`: they were to be verified by them.
    """
    files = used_files(plan)
    identities = {href: file.asset.identity for href, file in files.items()}
    unknown = sorted(href for href, identity in identities.items() if identity is None)
    if unknown:
        yield (
            f"{len(unknown)} of {len(files)} input files could not be identified yet, e.g. "
            f"{display_href(unknown[0])}: they are when they are read."
        )
    verified = sum(map(is_sum, files.values()))
    if checksums and verified < len(files):
        stated = sum(bool(file.checksums) for file in files.values())
        yield (
            f"verify: {verified} of {len(files)} input files were verified by a checksum; {stated} state one"
            f"{'' if stated == verified else ', some by a hash that is not known here, or of a Zarr store'}."
        )
    told = Counter(strength(identity) for identity in identities.values() if identity is not None)
    if told["untold"]:
        yield (
            f"{told['untold']} of {len(files)} input files have neither ETag nor Last-Modified: one that is "
            "replaced by another of the same size is not noticed."
        )
    if told["weak"]:
        yield (
            f"{told['weak']} of {len(files)} input files are told by date and size, or by a store's "
            "documents, alone: not every change is noticed."
        )


def input_counts(plan: Plan) -> dict[str, int]:
    """Numbers of the input files of a plan: all, told exactly, weakly and by size alone, unknown, with a checksum that
    is stated, and verified.
    """
    files = used_files(plan).values()
    told = Counter("unknown" if each.asset.identity is None else strength(each.asset.identity) for each in files)
    return {
        "files": len(files),
        **{name: told[name] for name in ("exact", "weak", "untold", "unknown")},
        "checksums_stated": sum(1 for each in files if each.checksums),
        "checksums_verified": sum(1 for each in files if is_sum(each)),
    }


def first_hrefs(hrefs: Sequence[str], most: int = 3) -> str:
    """The first of some hrefs, as they may be shown, and how many more there are."""
    names = ", ".join(display_href(href) for href in hrefs[:most])
    return names if len(hrefs) <= most else f"{names} and {len(hrefs) - most} more"


def is_sum(file: UsedFile) -> bool:
    """True for a file that is identified by its verified checksum."""
    return (file.asset.identity or "").startswith("sum:")


def _used_assets(entry: InputPlan, scene: Scene) -> list[BandAsset]:
    bands = dict.fromkeys((*entry.bands, *entry.mask.bands))
    return [asset for asset in scene.assets if asset.band in bands]
