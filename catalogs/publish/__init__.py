"""What a finished product says of itself in STAC: Item, Collection, tables and manifest, and their way into an API.

Reading order: facts, item, collection, geoparquet, manifest, validate, push.
It may import errors, hrefs, fields, footprint, scene and sources.fetch.
"""
