"""Rewrites a graph to run faster with the same results.

Reading order: fuse, fuse_specs, fuse_graph, fuse_nodes, tune, concat, quantise.
It may import run, card, transforms and their imports.
"""
