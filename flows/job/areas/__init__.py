"""The area of a job, in every way that people write one: checked, and as polygons in EPSG:4326.

Reading order: area, area_file, geojson, grid_outlines, outline.
It may import tasks; nothing of the job.
"""
