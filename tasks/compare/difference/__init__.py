"""Where two products lie apart, by how much, and whether they are the same within tolerances: maps, verdict, files.

Reading order: tolerance, classes, values, maps, objects, bootstrap, words, same, products.
It may import audit.objects, audit.evaluate and all wings below it, and models.fields.
"""
