"""Where scenes come from: which source a job names, how it is asked, and how its files are signed.

Reading order: source, registry, fetch, api, static, geoparquet, files, signing.
It may import errors, hrefs, fields, footprint, scene, sensors and gdal of this package.
"""
