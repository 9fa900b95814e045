"""One job from request to published product.

Reading order: predict, existing, context, pipeline, prepare, output_lock, lock_wait, inputs, missing_blocks,
precision, prefetch, outcome.
It may import runners, plan, precision, monitor, prefect_steps and what these import.
"""
