"""The `tilewright` command: what people type.

Reading order: main, options, models, series, demo, tables, terminal, exits.
It may import every other wing; nothing imports it. Heavy parts are imported by the command that needs them.
"""

from __future__ import annotations

from tilewright.flows.cli.main import app

__all__ = ["app"]
