"""A job as a person writes it, checked where it enters.

Reading order: job, area, period, mask, template.
It may import errors.
"""
