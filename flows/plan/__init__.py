"""From a job to its frozen plan, and what that plan will take.

Reading order: make, scenes, input_plans, rules, model_card, engine, memory, estimate, pricing, shards.
It may import job, environment, machine, errors, and all three packages below flows.
"""
