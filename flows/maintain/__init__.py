"""Commands on existing products: status, clean, rerun, watch, backfill, push, compare, zones, export.

Reading order: status, clean, rerun, rebuilt, watch, backfill, push, compare, zones, queries, find, export, added_table.
It may import run and what it imports.
"""
