"""The arithmetic of a job's model: what may run on what, the job's own windows, the ranges of a quantised graph.

Reading order: choice, windows, calibrate.
It may import job, access, environment, machine, errors, and all three packages below flows.
"""
