"""Runs blocks: on the threads of this process, on a Dask cluster, or as shards on machines of their own.

Reading order: run_options, runner, worker, threads, units, quarantine, cluster, cluster_worker, dispatch, shard_runs,
shard_worker.
It may import plan, monitor, policies, prefect_server, job.
"""
