"""Boxes, objects and polygons of a product held against polygons of labels.

Reading order: precision, objects.
It may import audit.evaluate and all wings below it, and catalogs.parquet.
"""
