"""`python -m tilewright.flows.cli`: the command without its script."""

from __future__ import annotations

from tilewright.flows.cli.main import app

app()
