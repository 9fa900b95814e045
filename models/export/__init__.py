"""How a trained model becomes an ONNX file with a card, proven to answer as the model does.

Reading order: facts, export, from_torch, from_trees, card, parity.
It may import measure, run, card and what these import.
"""
