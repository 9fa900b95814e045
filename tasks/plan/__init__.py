"""The plan of a product: everything that decides its pixels, frozen by the first run.

Reading order: plan, raster, places, identities, inputs, pass_request, footprints, chosen, served, shards, read_order.
It may import grid, read, storage, cube, compose and what these import.
"""
