"""How complete blocks become a published product: COGs, pictures, report, Items, in that order.

Reading order: publish, layers, class_areas, written, item_facts, report_json, copied_job, scene_rows, exactness,
names, unlist, verify.
It may import every other wing of tasks, models.{card, spec} and catalogs.{errors, publish, hrefs, sources}.
"""
