"""Is this file the one that was planned? The identity of an input: taken, kept in plan and ledger, held while reading.

An identity is a short text that changes with the file: size and times on a disk, the ETag of a server or bucket.

Reading order: identity, disk, web, bucket, take, checksum, register.
It may import catalogs.{hrefs, network, s3, sources}.
"""
