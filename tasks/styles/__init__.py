"""Styles by which QGIS shows a product's layers and tables in their colours, with the names of their classes.

Reading order: styles, raster, shapes, document.
It may import cog, colours, and catalogs.fields.
"""
