"""The passes of scenes on a geobox, read at once or as a lazy cube, and the scenes that can touch a box.

Reading order: coverage, at_once, scene_band, moved, stored_numbers, spare, read_pass, load, engines, drivers, look.
It may import read, grid and what these import, and catalogs.{passes, scene}.
"""
