"""From a file's pixels to a grid's: copied where they coincide, weighed where they are finer by a whole number, warped
in fixed cells where neither holds.

Reading order: pixels, cells, source_window, paste, enlarge, warp.
It may import grid.
"""
