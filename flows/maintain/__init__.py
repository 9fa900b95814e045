"""Commands on existing products: status, clean, rerun, watch, backfill, push.

Reading order: status, clean, rerun, rebuilt, watch, backfill, push.
It may import run and what it imports.
"""
