"""How far a job's inputs lie from what its card says of the values that the model was trained on.

Reading order: sums, measure, words.
It may import plan and all wings below it, and models.spec.
"""
