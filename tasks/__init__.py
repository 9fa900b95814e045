"""The steps of the data's way as plain functions, one file per step; no Prefect here."""
