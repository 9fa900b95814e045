"""The layers of a finished product held against labels: pairs, counts, scores.

Reading order: label_file, classes, targets, polygons, label_raster, pairs, groups, tally, scores, evaluate,
precision, objects.
It may import compare and all wings below it, and models.fields.
"""
