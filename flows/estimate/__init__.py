"""The time, the memory and the cost of a plan, before it runs.

Reading order: estimate, memory, pricing.
It may import plan, job, environment, machine, errors, and all three packages below flows.
"""
