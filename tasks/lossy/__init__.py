"""Values stored with a stated greatest error, so that they take less room: rounded, counted, told.

Reading order: rounding, tally.
It may import plan.py and all wings below it, and models.spec.
"""
