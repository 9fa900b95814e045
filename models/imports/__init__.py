"""Models that were made elsewhere: a card from what their files say, and the list of what is missing.

Reading order: importing, signature, found, deepness, ultralytics, yolo, bioimage, hub, mlm, answers, missing, skeleton.
It may import card and what it imports, and the reader of plain texts of catalogs.
"""
