"""Export of trained models: an ONNX file and its card, verified to give the same outputs as the model.

Reading order: facts, export, from_torch, from_trees, card, parity.
It may import measure, run, card and what these import.
"""
