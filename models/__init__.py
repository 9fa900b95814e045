"""Cards and sessions: what a model asks for, and running it; knows nothing of STAC search or of Dask."""
