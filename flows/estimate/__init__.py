"""The time, the bytes, the memory and the cost of a plan, before it runs; and the run beside them.

Reading order: estimate, places, workload, samples, trial, rates, promise, memory, measured, pricing,
drift.
It may import plan, precision, job, environment, machine, errors, and all three packages below flows.
"""
