from __future__ import annotations

import pytest

from tilewright.flows.errors import ErrorClass, classify
from tilewright.flows.policies import BLOCK_TRIES, RETRIED
from tilewright.flows.runners.quarantine import Quarantine
from tilewright.tasks.grid.blocks import block_at
from tilewright.tasks.storage.errors import FencedError, LockHeldError, StorageError


def _caused_by(error):
    try:
        raise RuntimeError("a worker failed") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        FencedError("the connection timed out, 503"),
        LockHeldError("busy: too many requests"),
        _caused_by(FencedError("taken over")),
    ],
)
def test_a_block_whose_output_is_another_runs_is_neither_tried_again_nor_set_aside(error):
    quarantine = Quarantine()
    assert classify(error) is ErrorClass.OTHER_RUN
    with pytest.raises(type(error)):
        quarantine.record_failure(block_at(row=0, col=0, block=64, halo=0), error)
    assert (quarantine.tries, quarantine.rows) == ({}, [])


def test_nothing_is_tried_again_for_another_run():
    assert ErrorClass.OTHER_RUN not in RETRIED
    assert ErrorClass.OTHER_RUN not in BLOCK_TRIES


def test_a_block_that_storage_refused_is_tried_again():
    quarantine = Quarantine()
    block = block_at(row=0, col=0, block=64, halo=0)
    assert quarantine.record_failure(block, StorageError("connection reset"))
    assert not quarantine.record_failure(block, StorageError("connection reset"))
    assert [row["class"] for row in quarantine.rows] == ["transient"]
