"""How any provider's Item becomes a Scene: bands, grids, numbers, clouds, and which of several processings counts.

Reading order: normalise, properties, assets, bands, radiometry, duplicates.
It may import sources and the single files of this package.
"""
