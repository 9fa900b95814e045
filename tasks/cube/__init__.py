"""Scenes on a geobox as a lazy cube, and which scenes can touch a box at all.

Reading order: coverage, load, mosaic, engines, drivers.
It may import read, grid and what these import.
"""
