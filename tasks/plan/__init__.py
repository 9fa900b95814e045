"""The plan of a product: everything that decides its pixels, frozen by the first run.

Reading order: plan, raster, served, align, places, identities, inputs, pass_request, footprints, chosen, shards,
read_order.
It may import grid, read, storage, cube, compose and what these import.
"""
