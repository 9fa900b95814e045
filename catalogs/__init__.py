"""STAC on both ends: sources, items, search, publication; knows nothing of models."""
