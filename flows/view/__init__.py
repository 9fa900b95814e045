"""The page of `tilewright view`: layers, tables and scenes of finished products, served on this machine alone.

Reading order: files, layers, products, tiles, values, outlines, scenes, series, ground, answers, server, serve.
It may import run and what it imports.
"""
