"""How values look in a notebook: a product, its report, a run under way, a layer drawn.

Reading order: cards, plot, live.
It may import errors, shown and what these import, and tasks.
"""
