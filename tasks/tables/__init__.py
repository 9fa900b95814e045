"""Tables of geometries as files: GeoParquet in one fixed order, as it was uploaded; files of others, and conversions.

Reading order: geoparquet, table_file, vector_file, convert.
It may import cog, storage, grid and catalogs.parquet.
"""
