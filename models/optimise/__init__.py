"""How a graph is rewritten to run faster with the same answers.

Reading order: fuse, fuse_specs, fuse_graph, fuse_nodes, tune, concat.
It may import run, card, transforms and what these import.
"""
