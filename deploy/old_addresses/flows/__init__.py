"""For deployments that a Prefect server stored before names began with `tilewright.`; on the images' PYTHONPATH."""
