"""The embedded sample: a simulated Sentinel-1 and -2 catalog of a landscape with known truth.

Reading order: build, jobs, calendar, reflectance, clouds, optical, radar, rasters, cog, stac, optical_items,
radar_items.
It may import landscape.
"""
