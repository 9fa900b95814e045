"""The ground truth of the embedded sample: relief, water, fields, towns, and what changes on them.

Reading order: grid, landscape, terrain, parcels, crops, settlements, surfaces, noise.
It may import nothing of this project.
"""
