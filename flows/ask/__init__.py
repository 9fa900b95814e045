"""What is asked of finished products: compare, evaluate, zones, find, export.

Reading order: product, compare, evaluate, zones, find, queries, export, added_table, added_files.
It may import run and what it imports.
"""
