"""STAC for input and output: sources, items, search and publication. Independent of models."""
