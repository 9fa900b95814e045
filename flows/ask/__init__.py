"""What is asked of finished products: compare, zones, find, sample, export.

Reading order: product, compare, zones, find, queries, sample, sample_request, sample_page, export, added_table,
added_files.
It may import run and what it imports.
"""
