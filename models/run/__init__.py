"""Runs a graph: execution providers, sessions, several runs combined to one result.

Reading order: providers, openvino, session, open, binding, sampler, augment, ensemble, text, prompt,
generate, smoke_run.
It may import card, transforms and their imports.
"""
