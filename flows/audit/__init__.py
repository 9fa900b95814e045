"""Finished products held against labels: their scores, what these say of the map, and where they are written.

Reading order: files, dates, evaluate, series.
It may import ask and what it imports.
"""
