"""The values that describe a model's inputs and outputs.

Reading order: inputs, outputs, embedding, words, instances, boxes, sampler, sampler_fields, scaling, statistics,
expression, arrays.
It may import errors and fields.
"""
