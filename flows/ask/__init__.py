"""What is asked of finished products: compare, zones, find, export.

Reading order: compare, zones, find, queries, export, added_table.
It may import run and what it imports.
"""
