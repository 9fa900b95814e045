"""The arithmetic of a job's model: what may run on what, the job's own windows, the ranges of a quantised graph, and
how the words of a map by words score.

Reading order: choice, windows, calibrate, words.
It may import job, access, environment, machine, errors, and all three packages below flows.
"""
