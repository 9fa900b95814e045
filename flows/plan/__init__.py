"""From a job to its frozen plan, and the time, memory and cost of that plan.

Reading order: make, model_card, model_graph, raster, scenes, headers, input_plans, rules, valid_for, memory, estimate,
pricing, shards.
It may import job, environment, machine, errors, and all three packages below flows.
"""
