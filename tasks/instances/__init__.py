"""Objects that models tell apart: their ids, known once all blocks are there, as a table of polygons and as a layer.

Reading order: sources, numbering, objects, mask_file, mask_parts, marked_rows, marks.
It may import models.{spec, transforms}, boxes, vector, tables, plan, zarr, inventory, storage and grid.
"""
