"""The Zarr store of a product, its georeference and period, and its pyramid of smaller levels.

Reading order: declare, declared, georeference, period, store, cut, pyramid, pyramid_fill, units, downsample, stored,
thumbnail.
It may import grid, storage and inventory.
"""
