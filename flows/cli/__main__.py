"""Runs the command as `python -m tilewright.flows.cli`; `--within MEGABYTES` before its words bounds its memory."""

from __future__ import annotations

import sys

words = sys.argv[1:]
if words[:1] == ["--within"]:
    from tilewright.flows.cli.bounded import bind

    if "cuda" not in words and "tensorrt" not in words:
        # A driver of GPUs reserves all their addresses at once; there the memory alone is watched.
        bind(int(words[1]))
    words = words[2:]

# The bounds come first: a library that is imported starts threads, which take addresses.
from tilewright.flows.cli.main import app  # noqa: E402

app(args=words, prog_name="tilewright")
