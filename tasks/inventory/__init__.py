"""What of an output is the product's, what is there, and whether that is the whole product.

Reading order: listing, arrivals, record, table, finished.
It may import storage, and catalogs.publish for the table of Items.
"""
