"""How a sample is drawn from a product by design, and what it says of the product once it is labelled.

Reading order: estimate, estimators, allocation, strata, population, draw, spacing, table, labelling, evaluated.
It may import audit.evaluate, compare, grid, zones, report, tables, colours, progress, catalogs.parquet and
models.transforms.
"""
