"""What is measured of a model: how far it sees, what memory it takes, which windows suit it, whether its card is true.

Reading order: facts, receptive, ports, probe, perturb, stride, theoretical, global_operators, memory, memory_probe,
window, check.
It may import run, optimise, card and what these import.
"""
