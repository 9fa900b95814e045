"""Runs the command as `python -m tilewright.flows.cli`."""

from __future__ import annotations

from tilewright.flows.cli.main import app

app()
