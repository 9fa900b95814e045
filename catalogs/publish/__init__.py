"""Publication of a finished product in STAC: its Item, Collection, table of Items and manifest; push to a STAC API.

Reading order: facts, item, collection, geoparquet, manifest, validate, push.
It may import errors, hrefs, parquet, scene, schemas and sources.fetch.
"""
