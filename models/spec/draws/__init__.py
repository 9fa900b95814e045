"""What a graph draws as it runs, and in how many passes (`tw:stochastic`).

Reading order: stochastic.
It may import errors and fields.
"""
