"""Commands on existing products: status, clean, rerun, watch, backfill, push; and what is newer than a product.

Reading order: status, clean, rerun, rebuilt, newer, watch, backfill, join, push.
It may import run and what it imports.
"""
