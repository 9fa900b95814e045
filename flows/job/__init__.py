"""A job as a person writes it, checked where it enters.

Reading order: job, options, area, area_file, geojson, outline, margin, period, span, mask, template, refusals.
It may import errors.
"""
