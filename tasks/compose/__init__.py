"""From passes to the time steps of a model: masks, composites, filled gaps.

Reading order: mask_rule, mask, steps, reducers, selection, composite, gap_fill, lazy.
It may import read, grid, models.spec, and catalogs.{passes, scene}.
"""
