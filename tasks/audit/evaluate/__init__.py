"""The layers of a finished product held against labels: pairs, counts, scores.

Reading order: label_file, label_dates, classes, targets, polygons, label_raster, pairs, tiles, groups, tally,
scores, evaluate.
It may import compare and all wings below it, and models.fields.
"""
