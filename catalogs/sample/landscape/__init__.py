"""The simulated landscape of the embedded sample: relief, water, fields, towns, and its changes.

Reading order: grid, landscape, terrain, parcels, crops, settlements, surfaces, noise.
It may import nothing of this project.
"""
