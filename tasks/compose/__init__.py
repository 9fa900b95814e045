"""How the days of a cube become the steps of a model: masks, composites, gaps.

Reading order: mask_rule, mask, steps, reducers, selection, composite, gap_fill.
It may import read, grid, and models.spec.
"""
