"""The places of a job: a file of points or parcels in place of an area, checked before anything is searched.

Reading order: footprint, columns, places, search.
It may import tasks and catalogs.parquet; the job's own rules of periods are handed to it.
"""
