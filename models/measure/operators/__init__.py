"""Names the operators of a graph, and the providers, installed here or not, that lack them.

Reading order: kernels, uses, tables, openvino_probe, lacking, build.
It may import run, card and their imports, and measure/reach.
"""
