"""The shapes of class maps as polygons.

Reading order: layer_polygons, polygon_table, shapes, parts, corners, rings, geometries, simplify, anchors, vertices.
It may import tables, plan, zarr, inventory, storage, grid and models.spec.
"""
