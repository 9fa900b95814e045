"""From a job to its frozen plan.

Reading order: make, exactness, model_card, model_graph, raster, scenes, headers, identities, input_plans, rules,
valid_for, shards.
It may import job, environment, machine, errors, and all three packages below flows.
"""
