"""Sources of scenes: resolving the source that a job names, reading its items, and signing its hrefs.

Reading order: described, source, plain, registry, fetch, api, pages, product, static, geoparquet, files, signing.
It may import errors, hrefs, fields, footprint, parquet, scene, sensors, s3, network and gdal of this package.
"""
