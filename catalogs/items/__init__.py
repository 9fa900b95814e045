"""Normalisation of any provider's Item into a Scene: bands, grids, radiometric state, and removal of duplicates.

Reading order: normalise, properties, inherited, assets, names, bands, plausible, radiometry, darkness, duplicates,
conditions, found.
It may import sources and the single files of this package.
"""
