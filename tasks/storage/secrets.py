"""The secrets of a frozen plan, kept apart from it: users, passwords and queries of its hrefs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tilewright.catalogs.hrefs import holds_key, json_without_secrets
from tilewright.tasks.storage.documents import json_value
from tilewright.tasks.storage.errors import StoreError
from tilewright.tasks.storage.storage import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tilewright.tasks.storage.storage import Storage


SECRETS = f"{STATE_FOLDER}/secrets.json"
"""A list of [path of keys and positions in the plan, value]. No Item, manifest or report leads to it."""

COUNT = "secrets_apart"
"""The key of a written plan that says how many of its values stand in SECRETS."""


def write_apart(storage: Storage, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan as it may be read by anybody; the values that hold secrets are written to SECRETS.

    In a folder that file is for its owner alone to read. In a bucket whoever may read the product's keys may read it,
    until `drop_published`.
    """
    keep = kept_of(plan.get("source"))
    found = [[list(path), value] for path, value in _secrets(plan, (), keep)]
    public: dict[str, Any] = json_without_secrets(dict(plan), keep)
    if not found:
        return public
    content = json.dumps(found, sort_keys=True, ensure_ascii=False).encode()
    storage.write_private(SECRETS, content)
    return {**public, COUNT: len(found)}


def join(storage: Storage, plan: dict[str, Any]) -> dict[str, Any]:
    """A written plan with its secrets, as it was made; as it is where they are gone, damaged or of another plan."""
    apart = json_value(storage.read(SECRETS)) if plan.get(COUNT) else None
    whole = {key: value for key, value in plan.items() if key != COUNT}
    keep = kept_of(plan.get("source"))
    try:
        places = [(path, value) for path, value in apart or ()]
        if len(places) != plan.get(COUNT) or not all(_belongs(whole, path, value, keep) for path, value in places):
            return plan
    except (KeyError, IndexError, TypeError, ValueError):
        return plan
    for path, value in places:
        _put(whole, path, value)
    return whole


def check_joined(plan: Mapping[str, Any], uri: str) -> None:
    """Check that no secret of a plan is missing, since its hrefs could not be read.

    Raises StoreError where some are.
    """
    if plan.get(COUNT):
        raise StoreError(
            f"{plan[COUNT]} hrefs of the plan in {uri} had a user, password or query, and {SECRETS} that holds them is "
            "not there or not of this plan: restore it, or run the job again with --update or --replace."
        )


def public_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan without secrets: what two plans are compared by, since a token that was renewed changes no pixel."""
    values = {key: value for key, value in plan.items() if key != COUNT}
    plain: dict[str, Any] = json_without_secrets(values, kept_of(plan.get("source")))
    return plain


def kept_of(source: Any) -> tuple[str, ...]:
    """The parameters of queries that a source, as JSON, says to be no secret; none of those that hold keys.

    Of several sources, as `Sources` writes them, those that any of them says to be none.
    """
    if not isinstance(source, dict):
        return ()
    several = source.get("sources")
    if isinstance(several, dict):
        return tuple(dict.fromkeys(name for each in several.values() for name in kept_of(each)))
    names = source.get("keep_query")
    given = names if isinstance(names, list) else ()
    return tuple(name for name in given if isinstance(name, str) and not holds_key(name))


def kept_of_request(request: Any) -> tuple[str, ...]:
    """The same of the sources of a request, which has either `source` or `sources`."""
    plain = request if isinstance(request, dict) else {}
    return kept_of(plain if "sources" in plain else plain.get("source"))


def drop_published(storage: Storage) -> None:
    """Remove the secrets of a product in a bucket, which may be open to all once it is published."""
    if storage.remote:
        storage.delete([SECRETS])


def _secrets(
    plain: Any, path: tuple[str | int, ...], keep: Sequence[str]
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """(path, value) of every text that holds a secret, and of every mapping one of whose keys does."""
    if isinstance(plain, dict) and all(json_without_secrets(key, keep) == key for key in plain):
        for key, value in plain.items():
            yield from _secrets(value, (*path, key), keep)
    elif isinstance(plain, (list, tuple)):
        for position, value in enumerate(plain):
            yield from _secrets(value, (*path, position), keep)
    elif json_without_secrets(plain, keep) != plain:
        yield path, plain


def _belongs(whole: Any, path: Sequence[str | int], value: Any, keep: Sequence[str]) -> bool:
    """True if a value without its secrets is what the plan has in its place: those of another plan are not mixed in."""
    for key in path:
        whole = whole[key]
    return bool(path) and bool(json_without_secrets(value, keep) == whole)


def _put(whole: Any, path: Sequence[str | int], value: Any) -> None:
    *above, last = path
    for key in above:
        whole = whole[key]
    whole[last] = value
