"""From passes to the time steps of a model: masks, composites, filled gaps.

Reading order: mask_rule, mask, steps, reducers, stored_reducers, selection, composite, gap_fill, lazy, cell_choice.
It may import read, grid, models.spec, and catalogs.{passes, scene}.
"""
