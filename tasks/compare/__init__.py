"""What changed: between two finished products, and between the two periods of a run, in areas, places and words.

Reading order: finished, lattice, cells, transitions, places, pictures, words, compare, page, files, pair, section.
It may import report and vector and all wings below them, catalogs.{fields, parquet} and models.spec.
"""
