"""How good a map is: its layers held against labels.

It may import compare and all wings below it, and models.fields.
"""
