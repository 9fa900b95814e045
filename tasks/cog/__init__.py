"""One layer of a store as a Cloud-Optimized GeoTIFF, or several under a VRT.

Reading order: spec, cog_file, write, staging, overviews, statistics, sidecar, parts, vrt.
It may import zarr, inventory, storage, grid.
"""
