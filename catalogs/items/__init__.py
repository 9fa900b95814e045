"""Normalisation of any provider's Item into a Scene: bands, grids, radiometric state, and removal of duplicates.

Reading order: normalise, properties, assets, bands, radiometry, duplicates.
It may import sources and the single files of this package.
"""
