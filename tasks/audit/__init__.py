"""How good a finished product is, by labels and by samples drawn for them: `design`, `evaluate`.

It may import what tasks has but publish and places.
"""
