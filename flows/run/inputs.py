"""Whether the inputs of a run are the planned ones: asked before it goes on, and before it publishes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tilewright.catalogs.hrefs import json_without_secrets
from tilewright.catalogs.network.check import check_href
from tilewright.flows.access import plan_sources
from tilewright.flows.plan.identities import changed_files, renew_inputs
from tilewright.flows.served.mask_model import mask_request
from tilewright.flows.served.screen import screen_request
from tilewright.tasks.block.block_key import block_key
from tilewright.tasks.identity.register import file_name
from tilewright.tasks.plan.identities import first_hrefs, used_files
from tilewright.tasks.progress import Notice
from tilewright.tasks.report.format import plural
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.ledger import json_digest, remove_entries
from tilewright.tasks.storage.secrets import kept_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tilewright.catalogs.sources.source import Sources
    from tilewright.flows.job.job import Job
    from tilewright.flows.run.context import Run
    from tilewright.tasks.plan.inputs import InputPlan
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.ledger import BlockEntry


class ChangedInputsError(RuntimeError):
    """Inputs that were replaced while they were read; the blocks they touch are forgotten, the others kept."""


def check_followed(plan: Plan, *, sources: Sources, model: str) -> None:
    """Check that a frozen plan leads nowhere but where the job's source may: who writes to an output can bend it.

    ``model`` is the digest of the job's card. Raises StoreError, CatalogError for an href that the source may not name.
    """
    given = sources.to_json()
    claimed = {"source": json_without_secrets(plan.source, kept_of(plan.source)), "model": plan.model.card["digest"]}
    if json_digest(claimed) != json_digest({"source": json_without_secrets(given, kept_of(given)), "model": model}):
        raise StoreError(
            "The plan in the output has another source or model than its own request: somebody changed it. Use "
            "--replace to start over, or another output."
        )
    check_hrefs(plan, sources)


def check_hrefs(plan: Plan, sources: Sources) -> None:
    """Check that the files of a plan lie where the source of their scene may lead.

    Raises CatalogError for one that does not, and for a scene of no source.
    """
    scenes = (scene for part in _all_inputs(plan) for scene in part.scenes)
    for name, href in {(scene.source, asset.href) for scene in scenes for asset in scene.assets}:
        source = sources.named(name)
        check_href(href, origin=source.href, hosts=source.hosts)


def _all_inputs(plan: Plan) -> tuple[InputPlan, ...]:
    return (*plan.inputs, *(() if plan.screen is None else plan.screen.inputs))


def check_servants_followed(plan: Plan, job: Job) -> None:
    """Check that a frozen plan masks scenes and screens windows by the models of the job. Raises StoreError."""
    asked = [mask_request(job).get("mask", {}).get("model"), screen_request(job).get("screen", {}).get("model")]
    claimed = [
        None if plan.mask_model is None else plan.mask_model.card["digest"],
        None if plan.screen is None else plan.screen.served.card["digest"],
    ]
    if asked != claimed:
        raise StoreError(
            "The plan in the output has another model of masks or of its screen than its own request: somebody changed "
            "it. Use --replace to start over, or another output."
        )


def renewed_plan(plan: Plan, *, checksums: bool, listener: Listener) -> Plan:
    """The frozen plan of an unfinished product, with the identities of those of its inputs that have changed since.

    The blocks that these touch have other keys under it, and are made anew.
    """
    renewed = renew_inputs(plan, plan_sources(plan), checksums=checksums)
    if renewed.untold:
        first = min(renewed.untold)
        listener(
            Notice(
                text=f"{plural(len(renewed.untold), 'input file')} could not be asked whether they changed since the "
                f"product was begun, e.g. {first_hrefs([first])} ({renewed.untold[first]}); reads are held to what "
                "they were."
            )
        )
    if renewed.changed:
        blocks = plan.raster.all_blocks() if plan.places is None else ()
        touched = sum(block_key(plan, block) != block_key(renewed.plan, block) for block in blocks)
        those = f"{touched} of {plural(len(blocks), 'block')}" if plan.places is None else "The units"
        files = plural(len(renewed.changed), "input file")
        verb = "has" if len(renewed.changed) == 1 else "have"
        listener(
            Notice(
                text=f"{files} {verb} changed since the product was begun: {first_hrefs(renewed.changed)}. "
                f"{those} that see them are made anew."
            )
        )
    return renewed.plan


def say_changes(plan: Plan, before: Plan, listener: Listener) -> None:
    """Say which files of an updated plan are others than those of the plan before it, which are new and which left."""
    files, earlier = used_files(plan), used_files(before)
    changed = sorted(
        href
        for href in files.keys() & earlier.keys()
        if None not in (told := (files[href].asset.identity, earlier[href].asset.identity)) and told[0] != told[1]
    )
    for hrefs, words in (
        (changed, "changed since the product was made"),
        (sorted(files.keys() - earlier.keys()), "read now that were not before"),
        (sorted(earlier.keys() - files.keys()), "read no more that were before"),
    ):
        if hrefs:
            listener(Notice(text=f"{plural(len(hrefs), 'input file')} {words}: {first_hrefs(hrefs)}."))


def forget_stale(run: Run, entries: Mapping[str, BlockEntry]) -> set[str]:
    """Forget the blocks whose files, first identified when they were read, are others by now; returns their names."""
    read = {name: entry.inputs for name, entry in entries.items() if entry.inputs}
    if not read:
        return set()
    hrefs = _hrefs(run.plan)
    latest = {hrefs[file]: told for inputs in read.values() for file, told in inputs.items() if file in hrefs}
    now = latest | _changed(run.plan, latest)[0]
    stale = {
        name
        for name, inputs in read.items()
        if any(now.get(hrefs.get(file, ""), told) != told for file, told in inputs.items())
    }
    if stale:
        remove_entries(run.storage, stale)
        others = sorted(href for href, told in latest.items() if now.get(href, told) != told)
        which = f": {first_hrefs(others)}" if others else ""
        blocks = plural(len(stale), "block")
        run.listener(Notice(text=f"{blocks} read input files that have changed since{which}. Made anew."))
    return stale


def check_inputs_stood(run: Run, done: dict[str, BlockEntry], made: Iterable[str]) -> None:
    """Check that the files which the blocks `made` by this run have read are the ones that were planned.

    This holds the files of servers that take no precondition, and finds blocks that first saw two files of one name:
    of this run, or one of it and one of an earlier run.

    Raises ChangedInputsError where some are not; the blocks of this run that read them, and all that saw one of two
    files, are removed from the ledger and from `done`.
    """
    entries = [done[name] for name in made if name in done]
    if not entries:
        return
    files, hrefs = used_files(run.plan), _hrefs(run.plan)
    held = {href: identity for href, file in files.items() if (identity := file.asset.holding) is not None}
    mixed = {
        href for href, count in Counter(href for href, _ in _first_seen(done.values(), hrefs)).items() if count > 1
    }
    changed, untold = _changed(run.plan, held | dict(_first_seen(entries, hrefs)))
    if untold:
        run.listener(
            Notice(
                text=f"{plural(len(untold), 'input file')} could not be asked again at the end, e.g. "
                f"{first_hrefs(sorted(untold), 1)} ({untold[min(untold)]}): whether they changed meanwhile is not "
                "known."
            )
        )
    touched = changed.keys() | mixed
    if not touched:
        return
    of_touched, of_mixed = _scenes_with(run.plan, touched), _scenes_with(run.plan, mixed)
    stale = sorted(
        {entry.name for entry in entries if not of_touched.isdisjoint(entry.scenes)}
        | {entry.name for entry in done.values() if not of_mixed.isdisjoint(entry.scenes)}
    )
    remove_entries(run.storage, stale)
    for name in stale:
        del done[name]
    raise ChangedInputsError(
        f"{plural(len(touched), 'input file')} changed while the blocks were made: {first_hrefs(sorted(touched))}. The "
        f"{plural(len(stale), 'block')} that read them are forgotten and the others kept: run again."
    )


def _first_seen(entries: Iterable[BlockEntry], hrefs: Mapping[str, str]) -> set[tuple[str, str]]:
    """The hrefs and identities of files that were first identified when these blocks read them."""
    return {(hrefs[file], told) for entry in entries for file, told in entry.inputs.items() if file in hrefs}


def _changed(plan: Plan, identities: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    scenes = (scene for part in plan.inputs for scene in part.scenes)
    return changed_files(
        identities, {asset.href: scene.source for scene in scenes for asset in scene.assets}, plan_sources(plan)
    )


def _hrefs(plan: Plan) -> dict[str, str]:
    """The hrefs of a plan's files by their names in ledger entries."""
    return {
        file_name(scene, asset): asset.href for part in plan.inputs for scene in part.scenes for asset in scene.assets
    }


def _scenes_with(plan: Plan, hrefs: set[str]) -> set[str]:
    """The ids of the scenes that have one of the files."""
    return {
        scene.id for part in plan.inputs for scene in part.scenes if any(asset.href in hrefs for asset in scene.assets)
    }
