"""The files that explain a product: report.html, preview.png and the pictures of its layers.

Reading order: render, fields, format, sections, layer_views, timeline, performance, asked_facts,
promise_table, picture, background, preview.
It may import plan.py and all wings below it, models.spec and catalogs.{fields, scene}.
"""
