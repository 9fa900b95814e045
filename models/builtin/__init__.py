"""The built-in models: their graphs and cards, both rebuilt byte for byte.

Reading order: build, graphs, shifts, cards.
It may import export, measure and what these import.
"""
