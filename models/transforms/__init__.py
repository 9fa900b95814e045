"""How pixels become the arrays a graph takes, and how its scores become layers.

Reading order: preprocess, missing, resize, extras, postprocess.
It may import errors, fields and spec.
"""
