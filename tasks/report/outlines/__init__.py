"""The shapes of a product's tables as the report lists and draws them: the largest ones, as paths of its picture.

Reading order: table, rows, columns, paths, payload.
It may import catalogs.parquet, colours and storage.
"""
