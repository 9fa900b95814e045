"""Model cards and sessions: the inputs a model needs, and running it. Imports no STAC search and no Dask."""
