"""Converts pixels to the arrays that a graph takes, and its scores to layers.

Reading order: preprocess, missing, resize, extras, draws, noise, postprocess, boxes, masks, weights, tokens.
It may import errors, fields and spec.
"""
