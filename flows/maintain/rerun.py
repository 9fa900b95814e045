"""A product rebuilt from its Item alone, and compared with the one the Item describes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.errors import CatalogError
from tilewright.catalogs.fields import mapping
from tilewright.catalogs.hrefs import display_href
from tilewright.catalogs.network.addresses import allowed_scopes
from tilewright.catalogs.network.check import address_scope
from tilewright.catalogs.sources.registry import known_sources, resolve_source
from tilewright.catalogs.sources.source import Sources
from tilewright.flows.access import plan_sources
from tilewright.flows.environment import storage_options
from tilewright.flows.machine import PhaseStart
from tilewright.flows.maintain.rebuilt import compare_blocks, same_layer
from tilewright.flows.plan.identities import renew_inputs
from tilewright.flows.plan.model_card import load_plan_card, model_references
from tilewright.flows.run.context import Run, RunSettings
from tilewright.flows.run.existing import ExistingProduct, check_output, product_tags, read_existing
from tilewright.flows.run.inputs import check_hrefs, say_changes
from tilewright.flows.run.pipeline import make_product
from tilewright.flows.runners.run_options import RunOptions
from tilewright.models.card.registry import is_remote
from tilewright.tasks.block.worker import WorkerSettings
from tilewright.tasks.plan.identities import Known, first_hrefs, used_files, with_identities
from tilewright.tasks.progress import silent
from tilewright.tasks.report.format import part_of, plural
from tilewright.tasks.storage.documents import json_value
from tilewright.tasks.storage.errors import StorageError, StoreError
from tilewright.tasks.storage.fence import ITEM
from tilewright.tasks.storage.ledger import json_digest
from tilewright.tasks.storage.secrets import join, public_plan
from tilewright.tasks.storage.storage import REMOTE, open_storage
from tilewright.tasks.vector.layer_polygons import asset_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tilewright.catalogs.sources.source import Source
    from tilewright.tasks.plan.plan import Plan
    from tilewright.tasks.progress import Listener
    from tilewright.tasks.storage.storage import Storage


def rerun_item(
    item: str, *, output: str | None = None, trusted: bool = False, listener: Listener = silent
) -> dict[str, Any]:
    """Rebuild the product of an Item (path or URI, also of its folder) into ``output``; returns the comparison with it.

    The plan of an Item of another place leads where a catalog at that place may; ``trusted``, wherever it says. Without
    ``output`` a local product is rebuilt next to itself, another one in the working folder. The comparison
    holds ``identical``, ``sentence``, ``output``, ``already_complete`` (nothing was written), ``layers`` (name to True,
    False, or None where the original cannot be read), ``blocks`` (the numbers compared by checksum and differing) and
    ``inputs_changed`` (the files that are others now than when the product was planned: it is rebuilt from today's, and
    the comparison shows what that means).

    Raises StoreError where the Item does not lead to its plan, and what a run raises.
    """
    original, plain = _read_item(item)
    planned = _plan_of(original, plain, trusted=trusted)
    renewed = renew_inputs(planned, plan_sources(planned))
    plan = renewed.plan
    default = f"{original.uri.rstrip('/')}-rerun" if original.folder is not None else f"out/{plan.name}-rerun"
    target = output or default
    storage = check_output(target, storage_options(target))
    if storage.uri == original.uri:
        raise StoreError(f"--output {target} is the product itself: give another place for the rebuilt one.")
    made = _rebuild(plan, _settings(plain), storage, listener)
    rebuilt = open_storage(target, options=storage.options)
    layers = {name: same_layer(plain, original, rebuilt, name) for name in asset_names(plan)}
    blocks = compare_blocks(original, rebuilt)
    identical = all(same is True for same in layers.values()) and blocks["differing"] == 0
    sentence = _sentence(plain["id"], made, identical=identical, layers=layers, blocks=blocks, uri=rebuilt.uri)
    if renewed.changed:
        changed = first_hrefs(renewed.changed)
        sentence += f" Of its input files {len(renewed.changed)} changed since it was planned: {changed}."
    return {
        "identical": identical,
        "sentence": sentence,
        "output": rebuilt.uri,
        "already_complete": not made,
        "layers": layers,
        "blocks": blocks,
        "inputs_changed": [display_href(href) for href in renewed.changed],
    }


def _read_item(item: str) -> tuple[Storage, dict[str, Any]]:
    """The storage that holds an Item, and the Item as JSON; a product's folder or URI stands for its own."""
    if not item.lower().endswith((".json", ".geojson")):
        item = f"{item.rstrip('/')}/{ITEM}"
    folder, _, name = item.rpartition("/") if REMOTE.match(item) else (str(Path(item).parent), "", Path(item).name)
    original = open_storage(folder, options=storage_options(folder))
    try:
        plain = original.read_json(name) if original.root is not None else None
    except StorageError as error:
        raise StoreError(str(error)) from error
    if plain is None:
        raise StoreError(f"{item} is not there: give the path or URI of a product's item.json.")
    if not _is_item(plain):
        raise StoreError(f"{item} is not a STAC Item: give the item.json of a product.")
    return original, plain


def _plan_of(original: Storage, plain: Mapping[str, Any], *, trusted: bool) -> Plan:
    """The plan an Item links to, verified by the checksum in the Item."""
    asset = plain["assets"].get("plan")
    if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
        raise StoreError(f"The Item {plain.get('id')} leads to no plan: only products of Tilewright can be rebuilt.")
    name = str(asset["href"]).removeprefix("./")
    content = original.read(name) if _is_inside(name) else None
    if content is None:
        raise StoreError(f"The plan {asset['href']} of the Item {plain.get('id')} is gone: restore it beside the Item.")
    if asset.get("file:checksum") != "1220" + hashlib.sha256(content).hexdigest():
        raise StoreError(
            f"The plan {asset['href']} is not the one the Item {plain.get('id')} was made with: restore it."
        )
    frozen = json_value(content)
    if not isinstance(frozen, dict):
        raise StoreError(f"The plan {asset['href']} of the Item {plain.get('id')} is none: restore it beside the Item.")
    plan = ExistingProduct(uri=original.uri, plain=join(original, frozen), complete=True).plan()
    if original.folder is None and not trusted:
        plan = _as_of(plan, original.uri)
    try:
        check_hrefs(plan, plan_sources(plan))
    except CatalogError as error:
        advice = "" if original.folder is not None or trusted else ": add --trusted if the product is your own"
        raise CatalogError(f"{error}{advice}") from error
    return plan


def _as_of(plan: Plan, origin: str) -> Plan:
    """The plan of an Item of another place, whose sources lead where a catalog at that place may, whatever it claims.

    Raises StoreError for an endpoint of S3 that is no known source's, since nothing judges where an endpoint leads, and
    for a model that would be fetched.
    """
    sources = plan_sources(plan)
    known = {None, *(resolve_source(name).s3_endpoint for name in known_sources())}
    if endpoint := next((each.s3_endpoint for each in sources if each.s3_endpoint not in known), None):
        raise StoreError(
            f"The plan at {origin} names {display_href(endpoint)} as the endpoint of its buckets, which "
            "no Item of another place may choose: add --trusted if the product is your own."
        )
    # A model is code, and who wrote the plan may have written both.
    if model := next((name for name in model_references(plan) if is_remote(name)), None):
        raise StoreError(
            f"The plan at {origin} names a model to fetch and run, {display_href(model)}, which no Item of another "
            "place may choose: add --trusted if you trust whoever made both."
        )
    bound = {name: _bound(source, origin) for name, source in sources.by_collection.items()}
    return replace(plan, source=Sources(by_collection=bound).to_json())


def _bound(source: Source, origin: str) -> Source:
    """The source of a plan at another place, as a catalog at that place could name it."""
    own = address_scope(source.href) in allowed_scopes(address_scope(origin))
    # A literal name would open its addresses, which is for the user alone to do; a pattern narrows as well.
    hosts = tuple(re.sub(r"^[^*?\[]", lambda first: f"[{first[0]}]", host) for host in source.hosts)
    return replace(source, href=source.href if own else origin, hosts=hosts)


def _settings(plain: Mapping[str, Any]) -> RunSettings:
    """The settings of the run, from the Item's processing expression."""
    expression = mapping(mapping(mapping(plain.get("properties")).get("processing:expression")).get("expression"))
    job = mapping(expression.get("job"))
    provider, batch = expression.get("provider", "auto"), mapping(job.get("tile")).get("batch")
    zarr_format = job.get("zarr_format", 3)
    plain_batch = batch is None or (type(batch) is int and batch > 0)
    if not isinstance(provider, str) or not plain_batch or zarr_format not in (2, 3):
        raise StoreError(f"The Item {plain.get('id')} does not say how its product was made: restore it.")
    return RunSettings(worker=WorkerSettings(provider=provider, batch=batch), zarr_format=zarr_format)


def _is_inside(name: str) -> bool:
    """True for a name that leads to a file below the Item."""
    return bool(name) and "\0" not in name and not {"", ".", ".."} & {*name.split("/")}


def _is_item(plain: object) -> bool:
    """True for JSON with the members of an Item that are looked at, each of its type."""
    if not isinstance(plain, dict) or plain.get("type") != "Feature" or not isinstance(plain.get("id"), str):
        return False
    assets = plain.get("assets")
    parts = (plain.get("properties"), *(assets.values() if isinstance(assets, dict) else [None]))
    return all(isinstance(part, dict) for part in parts)


def _rebuild(plan: Plan, settings: RunSettings, storage: Storage, listener: Listener) -> bool:
    """Make the product, or the blocks of it that an earlier call did not, or made from other files than today's.

    Returns False where nothing was to be done. Raises StoreError where the output holds another product.
    """
    found = product_tags(storage)
    existing = read_existing(storage)
    same = existing is not None and json_digest(public_plan(existing.plain)) == json_digest(public_plan(plan.to_json()))
    if existing is not None and same and existing.complete:
        return False
    replaced = None
    if existing is not None and not same:
        before = _earlier_rebuilt(existing, plan)
        replaced = existing.plain
        say_changes(plan, before, listener)
    make_product(
        Run(
            plan=plan,
            card=load_plan_card(plan),
            settings=settings,
            options=RunOptions(),
            storage=storage,
            listener=listener,
            began=datetime.now(UTC),
            start=PhaseStart.now(),
            replaces=replaced,
            found=found,
        )
    )
    return True


def _earlier_rebuilt(existing: ExistingProduct, plan: Plan) -> Plan:
    """The plan in the output, if it is this one but for the identities of its files. Raises StoreError if it is not."""
    try:
        before = existing.plan()
    except StoreError:
        before = None
    if before is None or _without_identities(before) != _without_identities(plan):
        raise StoreError(f"{existing.uri} holds another product: give another --output for the rebuilt one.")
    return before


def _without_identities(plan: Plan) -> str:
    told = with_identities(plan, {href: Known(identity=None) for href in used_files(plan)})
    return json_digest(public_plan(told.to_json()))


def _sentence(
    name: str, made: bool, *, identical: bool, layers: Mapping[str, bool | None], blocks: Mapping[str, int], uri: str
) -> str:
    how = f"was rebuilt from its Item in {uri}" if made else f"stands rebuilt from its Item in {uri} already"
    n, sums = blocks["compared"], "its checksum" if blocks["compared"] == 1 else "their checksums"
    compared = f", {plural(n, 'block')} by {sums}" if n else ""
    if identical:
        return f"{name} {how} and is identical: {_layers([*layers])}{compared}."
    unknown = [layer for layer, same in layers.items() if same is None]
    other = [layer for layer, same in layers.items() if same is False]
    parts = [f"{_layers(other)} {'differs' if len(other) == 1 else 'differ'}"] if other else []
    differing = part_of(blocks["differing"], n, "block", singular="differs", others="differ")
    parts += [differing] if blocks["differing"] else []
    parts += [f"the original of {', '.join(unknown)} cannot be read"] if unknown else []
    return f"{name} {how} and is not proven identical: {'; '.join(parts)}."


def _layers(names: list[str]) -> str:
    return f"{'layer' if len(names) == 1 else 'layers'} {', '.join(names)}"
