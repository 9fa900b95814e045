"""Order and policy: jobs, plans, runs, the command; the only package that knows Prefect."""
