"""Boxes that detectors find: kept per block while a run lasts, and made one table at its end.

Reading order: parts, overlap, suppress, box_table, box_file.
It may import models.spec, catalogs.parquet and the wings of tasks up to plan and tables.
"""
