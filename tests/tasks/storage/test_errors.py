from __future__ import annotations

from obstore.exceptions import GenericError

from tilewright.tasks.storage.errors import storage_error


def test_a_bucket_without_keys_is_told_apart_from_one_that_does_not_answer():
    keyless = "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token: 403 Forbidden"
    said = str(storage_error(GenericError(keyless), operation="list", uri="s3://b/out"))
    assert said.startswith("Cannot list s3://b/out: no keys were given")
    assert "AWS_ACCESS_KEY_ID" in said
    assert "169.254" not in said
    slow = storage_error(GenericError("Generic S3 error: 503 Slow Down"), operation="list", uri="s3://b/out")
    assert "when it answers" in str(slow)
