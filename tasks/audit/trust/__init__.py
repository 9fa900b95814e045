"""Where a map may be trusted: temperature scaling, conformal thresholds by class, and the layer `trusted`.

Reading order: sureness, labelled, temperature, conformal, trusted, layer, entries.
It may import audit.design and all wings below it, catalogs.publish, models.spec and models.transforms.
"""
