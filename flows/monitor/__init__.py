"""What a run says to machines while it works: progress file, logs, metrics, traces.

Reading order: monitor, progress_file, logs, metrics, traces.
It may import job, environment, machine, errors.
"""
