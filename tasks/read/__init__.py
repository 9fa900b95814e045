"""One band of one file on any grid: copied where pixels coincide, weighed or warped where they do not.

Reading order: reader, access, header, overviews, handles, gdal, retry, failures, counters.
It may import grid, and catalogs.{errors, gdal, hrefs, network, s3, scene}.
"""
