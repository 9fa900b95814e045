"""How a card is found, read and checked: one file per part of it, and the typed card that comes out.

Reading order: registry, files, schema, card, parse_inputs, parse_bands, parse_extras, parse_outputs, tile, graph.
It may import errors, fields, cache and spec.
"""
