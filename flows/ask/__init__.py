"""What is asked of finished products: compare, zones, find, sample, export.

Reading order: compare, zones, find, queries, sample, sample_request, sample_page, export, added_table.
It may import run and what it imports.
"""
