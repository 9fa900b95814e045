"""JSON Schemas of what people write, for editors that complete and check it while it is written.

Reading order: texts, job_schema, card_schema, card_inputs, card_outputs, forms.
It may import job.
"""
