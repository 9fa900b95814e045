"""Arrays in Zarr v3 as rasters: the GDAL of today's rasterio reads none, and nothing here trusts what a store says.

Reading order: raster, root, place, mapping, chunks, array, codecs, objects.
It may import catalogs.{errors, hrefs, network}.
"""
