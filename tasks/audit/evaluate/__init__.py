"""The layers of a finished product held against labels: pairs, scores, a page.

Reading order: label_file, classes, targets, polygons, label_raster, pairs, tally, scores, evaluate, page, files.
It may import compare and all wings below it, and models.fields.
"""
