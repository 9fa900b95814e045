"""Models that draw random numbers as they run (`tw:stochastic`): dropout left on, in so many passes.

Each random operator of a graph becomes an input of it, which is filled with numbers that hang on a seed, the pass and
the absolute pixel.

Reading order: sites, layouts, rewrite, passes.
It may import optimise, run, card and their imports.
"""
