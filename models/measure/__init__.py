"""Measures a model: its receptive field, its memory, the windows that suit it, and whether it agrees with its card.

Reading order: facts, receptive, ports, probe, shapes, perturb, stride, structure, memory, memory_probe, window, check.
It may import run, optimise, card and their imports.
"""
