"""The identities of a plan's inputs: taken when it is made, verified where asked, compared with those of today."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tilewright.catalogs.hrefs import display_href, split_store
from tilewright.catalogs.sources.registry import sign_href
from tilewright.flows.job.job import JobError
from tilewright.tasks.identity.checksum import ChecksumError, Multihash, hashed
from tilewright.tasks.identity.take import changed_identities, present_identity, take_identities
from tilewright.tasks.identity.web import NoIdentityError
from tilewright.tasks.plan.identities import Known, is_sum, used_files, with_identities
from tilewright.tasks.read.failures import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tilewright.catalogs.sources.source import Source, Sources
    from tilewright.tasks.plan.identities import UsedFile
    from tilewright.tasks.plan.plan import Plan


HASHED_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewedPlan:
    """A plan with its inputs' identities of today; `changed` are the hrefs of those that were others before, `untold`
    the reasons by href of those that could not be asked.
    """

    plan: Plan
    changed: tuple[str, ...] = ()
    untold: Mapping[str, str] = field(default_factory=dict)


def identify_inputs(plan: Plan, sources: Sources, *, checksums: bool = False) -> Plan:
    """The plan with the identities that its inputs have now, None for those that are not told.

    `checksums`: files whose source states a checksum are hashed, and are identified by it.

    Raises JobError for a file that is not the stated one, ReadError for one that cannot be read to verify it.
    """
    files = used_files(plan)
    found: dict[str, Known] = {}
    for source, hrefs in _by_source({href: file.source for href, file in files.items()}, sources):
        taken = take_identities(hrefs, sign=partial(sign_href, source), source=source)
        found |= {href: Known(identity=entry.identity) for href, entry in taken.items()}
    if checksums:
        found |= _verified({href: file for href, file in files.items() if file.checksums}, found, sources)
    return with_identities(plan, found)


def renew_inputs(plan: Plan, sources: Sources, *, checksums: bool = False) -> RenewedPlan:
    """The plan of earlier with the identities of today where they differ; files without one in the plan stay so.

    Raises JobError and ReadError as `identify_inputs` does.
    """
    files = used_files(plan)
    planned = {href: file.asset.holding for href, file in files.items()}
    known = {href: identity for href, identity in planned.items() if identity is not None}
    changed, untold = changed_files(known, {href: file.source for href, file in files.items()}, sources)
    found = {href: Known(identity=identity) for href, identity in changed.items()}
    again = {
        href: file
        for href, file in files.items()
        if file.checksums and (href in changed if is_sum(file) else checksums)
    }
    verified = _verified(again, {**{href: Known(identity=planned[href]) for href in again}, **found}, sources)
    # A file that only now was verified is the one that was planned: its identity stays.
    found |= {href: now for href, now in verified.items() if href in changed}
    return RenewedPlan(
        plan=with_identities(plan, found) if found else plan,
        changed=tuple(sorted(href for href in found if found[href].identity != files[href].asset.identity)),
        untold=untold,
    )


def _by_source(names: Mapping[str, str], sources: Sources) -> Iterator[tuple[Source, list[str]]]:
    """The sources with their hrefs; `names`: the name of the source of each href."""
    for source in sources:
        hrefs = [href for href, name in names.items() if sources.named(name) is source]
        if hrefs:
            yield source, hrefs


def changed_files(
    known: Mapping[str, str], names: Mapping[str, str], sources: Sources
) -> tuple[dict[str, str], dict[str, str]]:
    """What `changed_identities` tells of the identities of hrefs; `names`: the name of the source of each href."""
    changed: dict[str, str] = {}
    untold: dict[str, str] = {}
    for source, hrefs in _by_source({href: names[href] for href in known}, sources):
        planned = {href: known[href] for href in hrefs}
        others, unknown = changed_identities(planned, sign=partial(sign_href, source), source=source)
        changed, untold = changed | others, untold | unknown
    return changed, untold


def _verified(files: Mapping[str, UsedFile], found: Mapping[str, Known], sources: Sources) -> dict[str, Known]:
    """The files by href that were hashed and are the stated ones; not those whose hash is not known here."""
    if not files:
        return {}
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        verified = pool.map(
            lambda href: _verify(files[href], found[href].identity, sources.named(files[href].source)), files
        )
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
            digest = hashed(href, wanted, signed=signed, identity=identity, source=source)
            after = present_identity(href, signed=signed, source=source)
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
