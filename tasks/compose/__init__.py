"""From the days of a cube to the time steps of a model: masks, composites, filled gaps.

Reading order: mask_rule, mask, steps, reducers, selection, composite, gap_fill.
It may import read, grid, and models.spec.
"""
