"""The object store of a bucket: how its client is set up, and what its puts are made of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.store import from_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

K = TypeVar("K")
T = TypeVar("T")

RETRIES = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(seconds=120),
}
"""The client's own retries after 5xx, 429 and broken connections: they outlast a minute of throttling."""

REQUEST_SECONDS = 120
"""The timeout of one request with its body: a shard of 16 MB over a line of 1 Mbit/s."""

CA_BUNDLE = "ca_bundle"
"""The option that is ours, not obstore's: the PEM file of the authorities whose certificates are trusted."""

PART_BYTES = 5 * 2**20
"""Bytes of a file that an upload takes at a time. Source: S3, the least size of a part."""

PARALLEL_PARTS = 8
"""Parts that are under way at a time: fewer leave a fast line idle, and more are sent after the last check."""


MANY, AHEAD = 64, 4096
"""Requests for small objects that are under way at a time, and answers that may wait in memory."""


def many_at_once(ask: Callable[[K], T], keys: Sequence[K]) -> Iterator[T]:
    """The answers to ``ask`` of each key, in their order: a bucket takes as long for one request as for many at a time.

    Raises what the first key raises that fails; requests that were sent before are awaited.
    """
    with ThreadPoolExecutor(MANY, thread_name_prefix="tilewright-bucket") as pool:
        for first in range(0, len(keys), AHEAD):
            yield from pool.map(ask, keys[first : first + AHEAD])


def open_bucket(uri: str, options: Mapping[str, str]) -> Any:
    """The object store at a URI; plain http is allowed only if the endpoint, or the URI itself, is plain http."""
    client: dict[str, Any] = {"timeout": timedelta(seconds=REQUEST_SECONDS)}
    if "http://" in {options.get("endpoint", "")[:7], uri[:7]}:
        client["allow_http"] = True
    if ca_bundle := options.get(CA_BUNDLE):
        client["root_certificate"] = Path(ca_bundle).read_bytes()
    settings: dict[str, Any] = {"client_options": client, "retry_config": RETRIES}
    if config := {name: value for name, value in options.items() if name != CA_BUNDLE}:
        settings["config"] = config
    return from_url(uri, **settings)


def put_by_copy(root: Any, key: str, content: bytes, *, draft: str, check: Callable[[], None]) -> None:
    """Put an object by way of a draft, which a later owner removes; ``check`` is called between the two.

    Raises FileNotFoundError where the draft is gone, and what ``check`` raises.
    """
    obstore.put(root, draft, content)
    check()
    obstore.copy(root, draft, key)
    obstore.delete(root, draft)


def unchanged(found: Mapping[str, Any] | None) -> Any:
    """The mode of a put that fails where an object is not as it was ``found`` (its metadata; None: there was none)."""
    if found is None:
        return "create"
    # Google compares the version, the others the tag. A server that tells neither has no conditions to keep to.
    return {name: found[name] for name in ("e_tag", "version") if found.get(name)} or "overwrite"


def upload_file(root: Any, key: str, path: Path, *, check: Callable[[], None]) -> None:
    """Put a whole file. ``check``, which may raise, is called first, and once more with the last parts on their way.

    An upload of many parts takes minutes, and its last request alone makes the object. One that is not completed leaves
    parts that no listing of objects shows.
    """
    check()
    if path.stat().st_size <= PART_BYTES:
        obstore.put(root, key, path)
        return
    writer = obstore.open_writer(root, key, buffer_size=PART_BYTES, max_concurrency=PARALLEL_PARTS)
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            writer.write(part)
    check()
    writer.close()


def download_file(root: Any, key: str, path: Path) -> None:
    """Fetch an object into a local file, some of it at a time. Raises FileNotFoundError where there is none."""
    with path.open("wb") as file:
        for piece in obstore.get(root, key).stream():
            file.write(piece)
