"""A job as a person writes it, checked where it enters.

Reading order: job, area, area_file, geojson, outline, period, span, mask, template.
It may import errors.
"""
