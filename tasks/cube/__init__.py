"""Scenes on a geobox as a lazy cube, and the scenes that can touch a box.

Reading order: coverage, load, mosaic, engines, drivers.
It may import read, grid and what these import.
"""
