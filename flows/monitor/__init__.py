"""Progress of a run for machines: progress file, logs, metrics, traces; and a notification at its end.

Reading order: monitor, progress_file, logs, metrics, traces, notify.
It may import job, environment, machine, errors.
"""
