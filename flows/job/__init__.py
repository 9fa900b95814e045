"""A job as a person writes it, checked where it enters.

Reading order: job, options, margin, period, span, mask, template, refusals.
It may import errors, and its own wings areas and places.
"""
