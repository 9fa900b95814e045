"""Pixels, boxes, windows, blocks and areas: where everything lies, in absolute pixels from the CRS origin.

Reading order: crs, pixel_box, grid, blocks, windows, area_mask, areas.
It may import one type of models.measure.
"""
