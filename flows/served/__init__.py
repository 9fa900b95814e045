"""Models that serve a job's own: which card, checked against the job, and the model ready to run.

Reading order: mask_model, scene_masks, screen, align.
It may import job, precision, environment, machine, errors, access, and all three packages below flows.
"""
