"""The identities of a plan's inputs: taken when it is made, verified where asked, compared with those of today."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tilewright.catalogs.hrefs import display_href, split_store
from tilewright.catalogs.sources.registry import sign_href
from tilewright.flows.job.job import JobError
from tilewright.tasks.identity.checksum import ChecksumError, Multihash, hashed
from tilewright.tasks.identity.identity import strength
from tilewright.tasks.identity.take import changed_identities, present_identity, take_identities
from tilewright.tasks.identity.web import NoIdentityError
from tilewright.tasks.read.failures import ReadError
from tilewright.tasks.report.format import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tilewright.catalogs.scene import BandAsset, Scene
    from tilewright.catalogs.sources.source import Source
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan


HASHED_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a file: the identity that keys hold and, where that is a verified checksum, its stamp."""

    identity: str | None
    stamp: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedFile:
    """A file that a plan reads, as the first band that names it says; `checksums` are all that bands state for it."""

    item: str
    asset: BandAsset
    checksums: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewedPlan:
    """A plan with its inputs' identities of today; `changed` are the hrefs of those that were others before, `untold`
    the reasons by href of those that could not be asked.
    """

    plan: Plan
    changed: tuple[str, ...] = ()
    untold: Mapping[str, str] = field(default_factory=dict)


def used_files(plan: Plan) -> dict[str, UsedFile]:
    """The files that a plan reads by href: of every scene the bands of its input and of the mask."""
    found: dict[str, UsedFile] = {}
    for entry in plan.inputs:
        for scene in entry.scenes:
            for asset in _used_assets(entry, scene):
                file = found.get(asset.href) or UsedFile(item=scene.id, asset=asset)
                if asset.checksum and asset.checksum not in file.checksums:
                    file = replace(file, checksums=(*file.checksums, asset.checksum))
                found[asset.href] = file
    return found


def identify_inputs(plan: Plan, source: Source, *, checksums: bool = False) -> Plan:
    """The plan with the identities that its inputs have now, None for those that are not told.

    `checksums`: files whose source states a checksum are hashed, and are identified by it.

    Raises JobError for a file that is not the stated one, ReadError for one that cannot be read to verify it.
    """
    files = used_files(plan)
    taken = take_identities(files, sign=lambda href: sign_href(source, href), s3=source.s3)
    found = {href: Known(identity=entry.identity) for href, entry in taken.items()}
    if checksums:
        found |= _verified({href: file for href, file in files.items() if file.checksums}, found, source)
    return _with_identities(plan, found)


def renew_inputs(plan: Plan, source: Source, *, checksums: bool = False) -> RenewedPlan:
    """The plan of earlier with the identities of today where they differ; files without one in the plan stay so.

    Raises JobError and ReadError as `identify_inputs` does.
    """
    files = used_files(plan)
    planned = {href: file.asset.holding for href, file in files.items()}
    known = {href: identity for href, identity in planned.items() if identity is not None}
    changed, untold = changed_identities(known, sign=lambda href: sign_href(source, href), s3=source.s3)
    found = {href: Known(identity=identity) for href, identity in changed.items()}
    again = {
        href: file
        for href, file in files.items()
        if file.checksums and (href in changed if _is_sum(file) else checksums)
    }
    verified = _verified(again, {**{href: Known(identity=planned[href]) for href in again}, **found}, source)
    # A file that only now was verified is the one that was planned: its identity stays.
    found |= {href: now for href, now in verified.items() if href in changed}
    return RenewedPlan(
        plan=_with_identities(plan, found) if found else plan,
        changed=tuple(sorted(href for href in found if found[href].identity != files[href].asset.identity)),
        untold=untold,
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
    return _with_identities(plan, found) if found else plan


def input_warnings(plan: Plan, *, checksums: bool = False) -> Iterator[str]:
    """What is not known of the inputs of a plan, in sentences. They are no part of it: an answer may come tomorrow.

    `checksums`: they were to be verified by them.
    """
    files = used_files(plan)
    identities = {href: file.asset.identity for href, file in files.items()}
    unknown = sorted(href for href, identity in identities.items() if identity is None)
    if unknown:
        yield (
            f"{len(unknown)} of {plural(len(files), 'input file')} could not be identified yet, e.g. "
            f"{display_href(unknown[0])}: they are when they are read."
        )
    verified = sum(map(_is_sum, files.values()))
    if checksums and verified < len(files):
        stated = sum(bool(file.checksums) for file in files.values())
        yield (
            f"verify: {verified} of {plural(len(files), 'input file')} were verified by a checksum; {stated} state one"
            f"{'' if stated == verified else ', some by a hash that is not known here, or of a Zarr store'}."
        )
    told = Counter(strength(identity) for identity in identities.values() if identity is not None)
    if told["untold"]:
        yield (
            f"{told['untold']} of {plural(len(files), 'input file')} have neither ETag nor Last-Modified: one that is "
            "replaced by another of the same size is not noticed."
        )
    if told["weak"]:
        yield (
            f"{told['weak']} of {plural(len(files), 'input file')} are told by date and size, or by a store's "
            "documents, alone: not every change is noticed."
        )


def counts(plan: Plan) -> dict[str, int]:
    """Numbers of the input files of a plan: all, told exactly, weakly and by size alone, unknown, with a checksum that
    is stated, and verified.
    """
    files = used_files(plan).values()
    told = Counter("unknown" if each.asset.identity is None else strength(each.asset.identity) for each in files)
    return {
        "files": len(files),
        **{name: told[name] for name in ("exact", "weak", "untold", "unknown")},
        "checksums_stated": sum(1 for each in files if each.checksums),
        "checksums_verified": sum(1 for each in files if _is_sum(each)),
    }


def shown(hrefs: Sequence[str], most: int = 3) -> str:
    """The first of some hrefs, as they may be shown, and how many more there are."""
    names = ", ".join(display_href(href) for href in hrefs[:most])
    return names if len(hrefs) <= most else f"{names} and {len(hrefs) - most} more"


def _used_assets(entry: InputPlan, scene: Scene) -> list[BandAsset]:
    bands = dict.fromkeys((*entry.bands, *entry.mask.bands))
    return [asset for asset in scene.assets if asset.band in bands]


def _with_identities(plan: Plan, found: Mapping[str, Known]) -> Plan:
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


def _is_sum(file: UsedFile) -> bool:
    return (file.asset.identity or "").startswith("sum:")


def _verified(files: Mapping[str, UsedFile], found: Mapping[str, Known], source: Source) -> dict[str, Known]:
    """The files by href that were hashed and are the stated ones; not those whose hash is not known here."""
    if not files:
        return {}
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        verified = pool.map(lambda href: _verify(files[href], found[href].identity, source), files)
        return {href: known for href, known in zip(files, verified, strict=True) if known is not None}


def _verify(file: UsedFile, identity: str | None, source: Source) -> Known | None:
    """The file's checksum as its identity, once its content was seen to have it; None for an unknown kind of hash."""
    href = file.asset.href
    signed = sign_href(source, href)
    known = None
    if split_store(href) is not None:
        # A store is many files.
        return None
    for stated in file.checksums:
        try:
            wanted = Multihash.of(stated)
        except ChecksumError:
            continue
        try:
            digest = hashed(href, wanted, signed=signed, identity=identity, s3=source.s3)
            after = present_identity(href, signed=signed, s3=source.s3)
        except NoIdentityError as error:
            raise ReadError(
                item=file.item, band=file.asset.band, href=href, reason=f"to verify its checksum: {error}"
            ) from error
        if after != identity and identity is not None:
            raise ReadError(
                item=file.item, band=file.asset.band, href=href, reason="it changed while it was verified: run again"
            )
        if digest != wanted.digest:
            raise JobError(
                f"verify: item {file.item}, band {file.asset.band}: {display_href(href)} is not the file that its item "
                f"states: expected {wanted.name} {wanted.digest}, found {digest}. Ask for the file again, or correct "
                "its file:checksum."
            )
        known = Known(identity=f"sum:{stated.strip().lower()}", stamp=after)
    return known
