"""One block from scenes to stored shards and its ledger entry: read, infer, merge, write.

Reading order: worker, block_key, inputs, step_composite, observed, feeds, infer, seams, merge, output_grid,
split, floor.
It may import audit.drift and all wings below it, and models.{card, measure, run, spec, transforms}.
"""
