"""The grid of a product, and its pixel boxes, blocks, windows and areas, in absolute pixels from the CRS origin.

Reading order: crs, extents, pixel_box, grid, cells, blocks, windows, drawn_places, memory_raster, area_mask, ground,
areas.
It may import one type of models.measure.
"""
