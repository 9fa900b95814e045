"""The old address of the flows: hands them on, with a word. Remove it once no stored deployment has it."""

from __future__ import annotations

import warnings

from tilewright.flows.prefect_flows import backfill, predict, region, shard, watch

__all__ = ["backfill", "predict", "region", "shard", "watch"]

warnings.warn(
    "flows.prefect_flows is an old address: deploy again with entrypoints tilewright.flows.prefect_flows.<flow>.",
    FutureWarning,
    stacklevel=2,
)
