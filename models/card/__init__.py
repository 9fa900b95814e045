"""Finds, reads and checks a card, and yields it as a typed value: one file per part of the card.

Reading order: registry, files, schema, card, parse_inputs, parse_bands, parse_extras, parse_outputs, parse_boxes,
tile, valid_for, graph.
It may import errors, fields, cache and spec.
"""
