"""Real services for the tests, on this machine alone: PostgreSQL, a STAC API, S3, a web server, Prefect."""
