"""What is done with products that exist: status, clean, rerun, watch, backfill.

Reading order: status, clean, rerun, watch, backfill.
It may import run and what it imports.
"""
