"""What of an output is the product's, what is there, and whether that is the whole product.

Reading order: listing, arrivals, record, table, finished, report_grid.
It may import storage and grid, and catalogs.publish for the table of Items.
"""
