"""What the commands print: progress, closing summaries, and what plans, products and models are.

Reading order: terminal, products, scenes, models, console.
It may import every other wing.
"""
