"""Proves how far a graph reaches, from its operators alone: no pixel can make it reach farther.

Reading order: bound, graph, call, values, lines, kernels, flat, pointwise, sizes, mates, field, loop.
It may import nothing of the project.
"""
