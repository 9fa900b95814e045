"""How good a map is: its layers held against labels (`evaluate`), its tables of things (`objects`), samples drawn for
them and what they estimate (`design`), where it may be trusted (`trust`), and the pages and sentences that say it
(`shown`); whether a model got what it was trained on (`drift`).

It may import compare and all wings below it, models.fields and models.transforms.
"""
