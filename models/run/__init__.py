"""How a graph is run: providers, sessions, several runs that answer as one.

Reading order: providers, session, open, binding, joint, augment, ensemble, smoke_run.
It may import card, transforms and what these import.
"""
