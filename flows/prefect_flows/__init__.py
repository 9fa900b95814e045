"""The flows that Prefect serves: a request a person can name, as a flow run.

Reading order: flows, asked, form, artifacts, secrets.
It may import every wing but cli. The addresses ``tilewright.flows.prefect_flows.predict`` (region, shard, watch,
backfill, compare, evaluate, sample) are stored by Prefect servers and stay.
"""

from __future__ import annotations

import warnings

from tilewright.flows.prefect_flows.asked import compare, evaluate, sample
from tilewright.flows.prefect_flows.flows import backfill, predict, region, shard, watch

__all__ = ["backfill", "compare", "evaluate", "predict", "region", "sample", "shard", "watch"]

if __name__ != "tilewright.flows.prefect_flows":
    warnings.warn(
        f"{__name__} is an old address: deploy again with entrypoints tilewright.flows.prefect_flows.<flow>.",
        FutureWarning,
        stacklevel=2,
    )
