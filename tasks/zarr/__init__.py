"""The Zarr store of a product, its georeference and period, and its pyramid of smaller levels.

Reading order: declare, georeference, period, store, cut, pyramid, pyramid_fill, downsample, thumbnail.
It may import grid and storage.
"""
