"""The plan of a product: everything that decides its pixels, frozen by the first run.

Reading order: plan, raster, identities, inputs, footprints.
It may import grid, read, storage, cube, compose and what these import.
"""
