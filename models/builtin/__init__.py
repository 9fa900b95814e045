"""The built-in models: their graphs and cards, and how both are made again byte for byte.

Reading order: build, graphs, cards.
It may import export, measure and what these import.
"""
