"""From a job to its frozen plan.

Reading order: make, exactness, model_card, model_graph, raster, scenes, headers, identities, input_plans, rules,
valid_for, clearest.
It may import job, precision, environment, machine, errors, access, and all three packages below flows.
"""
