"""The values that say what a model's inputs and outputs are.

Reading order: inputs, outputs, scaling, expression, arrays.
It may import errors and fields.
"""
