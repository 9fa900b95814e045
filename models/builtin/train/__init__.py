"""Training, export and scoring of the sample models on the embedded sample.

Reading order: main, recipes, model_facts, pictures, networks, loop, score.
It may import export, measure and what these import; it runs the `tilewright` command to make its pictures.
"""
