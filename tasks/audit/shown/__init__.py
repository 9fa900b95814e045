"""An evaluation as files: what it says in words, its page with maps and charts, its pairs.

Reading order: words, maps, charts, trust_table, page, pairs_file, objects_page.
It may import models.fields, audit.design, audit.evaluate, audit.objects, compare and all wings below them.
"""
