"""Objects in a folder or a bucket: reading and writing them, the ledger of finished blocks, the lock of an output.

Reading order: storage, errors, documents, fence, guard, bucket, fenced_zarr, secrets, ledger, lock, multipart,
s3_request.
It may import tasks.progress and catalogs.hrefs, no more of this project.
"""
