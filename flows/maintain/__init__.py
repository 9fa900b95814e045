"""Commands on existing products: status, clean, rerun, watch, backfill, push, compare, zones.

Reading order: status, clean, rerun, watch, backfill, push, compare, zones, added_table.
It may import run and what it imports.
"""
