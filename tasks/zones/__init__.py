"""What a product says of each of a set of zones: statistics of its layers, weighted by the share of each pixel inside.

Reading order: zones, measure, layers, cells, totals, median.
It may import grid, storage, tables, zarr and catalogs.parquet.

Shares, means, medians and ``observed`` count pixels by their covered share; areas in square metres are on the ground.
"""
