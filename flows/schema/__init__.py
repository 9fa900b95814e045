"""JSON Schemas of what people write, for editors that complete and check it while it is written.

Reading order: texts, job_schema.
It may import job.
"""
