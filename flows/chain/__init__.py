"""Chains of jobs in one file, of which each may read the product of an earlier one: planned, run and told as a whole.

Reading order: chain, promised, plan, run.
It may import maintain and what it imports.
"""
