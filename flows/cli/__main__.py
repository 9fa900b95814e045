"""Runs the command: `python -m tilewright.flows.cli`; with BOUNDED and megabytes first, in so much memory."""

import sys

from tilewright.flows.cli.bounded import BOUNDED, bind
from tilewright.flows.cli.main import app

if __name__ == "__main__":
    if sys.argv[1:2] == [BOUNDED]:
        megabytes = int(sys.argv[2])
        del sys.argv[1:3]
        if "cuda" not in sys.argv and "tensorrt" not in sys.argv:
            # A driver of GPUs reserves all their addresses at once; there the memory alone is watched.
            bind(megabytes)
    app(prog_name="tilewright")
