"""Tables of geometries as files: GeoParquet in one fixed order, as it was uploaded; files of others, and conversions.

Reading order: geoparquet, fiboa, table_file, vector_file, table_rows, plain_columns, csv_file, csv_points,
gdal_file, convert.
It may import cog, storage, grid and catalogs.parquet.
"""
