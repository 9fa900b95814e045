"""Answers in words: kept per block while a run lasts, and made one table at its end, a row for each window.

Reading order: parts, caption_file, caption_map.
It may import models.spec, catalogs.parquet and the wings of tasks up to boxes.
"""
