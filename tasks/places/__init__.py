"""Places: one window per row of a table, read and answered like any other, and the table that is made of them.

Reading order: rows, kept_rows, matches, patches, answers, texts, worker, table, pictures, report, publish.
It may import block, publish and what these import, catalogs.hrefs, parquet, publish, and models.
"""
