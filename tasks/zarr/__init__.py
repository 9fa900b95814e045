"""The Zarr store of a product, its georeference, and its pyramid of smaller levels.

Reading order: store, georeference, pyramid, pyramid_fill, downsample, thumbnail.
It may import grid and storage.
"""
