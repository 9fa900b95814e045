"""One band of one file on any grid: copied where pixels coincide, warped in fixed cells where they do not.

Reading order: reader, access, source_window, header, paste, warp, cells, pixels, gdal, retry, failures, counters.
It may import grid, and catalogs.{errors, gdal, hrefs, network, s3, scene}.
"""
