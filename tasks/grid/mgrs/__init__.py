"""The tiles of 100 km of the Military Grid Reference System (MGRS), by which Sentinel-2 and others name their tiles.

Reading order: tiles.
It may import grid.crs.
"""
