"""Models that serve the job's own: maps that are made where and when they are asked for, and kept.

Reading order: scene_masks, counted, screen, lazy_map, kept_blocks, moves, shifts.
It may import block and all wings below it, catalogs.scene and models.{card, run, spec, transforms}.
"""
