"""Embeddings of a product: described, made a table of windows, drawn, and searched for those that are alike.

Reading order: described, window_table, overview, stored_vectors, nearest, index.
It may import models.spec, catalogs.{parquet, publish} and the wings of tasks up to plan and tables.
"""
