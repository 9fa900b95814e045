"""Progress of a run for machines: progress file, logs, metrics, traces.

Reading order: monitor, progress_file, logs, metrics, traces.
It may import job, environment, machine, errors.
"""
