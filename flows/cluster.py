"""Blocks on a Dask cluster: each worker process opens its own workshop from the output and does one block at a time."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flows.workshop import reopen_workshop
from tasks.ledger import BlockEntry
from tasks.work import block_key, do_block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flows.runner import Where
    from tasks.grid import Block
    from tasks.work import Workshop

IN_FLIGHT = 2
"""Blocks per worker that are out at once: one in work, one waiting, so that a lost worker loses little."""

RETRIES = 2


def run_on_cluster(shop: Workshop, blocks: Sequence[Block], where: Where, *, provider: str) -> Iterator[BlockEntry]:
    """Do the blocks on the cluster and yield their entries as they come.

    Raises ValueError where Dask's distributed part is not installed, and the first failure of a block.
    """
    try:
        from distributed import as_completed
    except ModuleNotFoundError as error:
        raise RunnerError("runner: a Dask cluster needs distributed: pip install 'tilewright[flows]'.") from error
    settings = {
        "output": shop.storage.uri,
        "provider": provider,
        "batch": shop.engine.batch,
        "tolerance": shop.failures.tolerance,
    }
    with _client(where) as client:
        waiting = iter(blocks)
        n_out = max(1, len(client.scheduler_info()["workers"])) * IN_FLIGHT
        first = [_submit(client, shop, block, settings) for block, _ in zip(waiting, range(n_out), strict=False)]
        answers = as_completed(first, with_results=True)
        for _future, answer in answers:
            yield BlockEntry.from_json(answer)
            following = next(waiting, None)
            if following is not None:
                answers.add(_submit(client, shop, following, settings))


class RunnerError(ValueError):
    """A runner that cannot be had here."""


def remote_block(row: int, col: int, settings: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Do one block in a worker process and return its ledger entry as JSON values."""
    shop = _workshop(settings)
    return do_block(shop, shop.plan.block(row, col)).to_json()


@lru_cache(maxsize=4)
def _workshop(settings: tuple[tuple[str, Any], ...]) -> Workshop:
    return reopen_workshop(read_threads=2, **dict(settings))


def _submit(client: Any, shop: Workshop, block: Block, settings: dict[str, Any]) -> Any:
    needs = {"GPU": 1} if shop.engine.session.provider in {"cuda", "tensorrt"} else None
    return client.submit(
        remote_block,
        block.row,
        block.col,
        tuple(sorted(settings.items())),
        key=f"block-{block.name}-{block_key(shop.plan, block)[:16]}",
        retries=RETRIES,
        resources=needs,
        pure=False,
    )


@contextmanager
def _client(where: Where) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    if where.runner != "dask":
        with Client(where.runner, timeout="20s") as client:
            yield client
        return
    with (
        LocalCluster(n_workers=where.n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client
